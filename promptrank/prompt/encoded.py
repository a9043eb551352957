"""What encoding a request gives: its tree and what was left out, or the fragments it is made of."""

from dataclasses import dataclass

from promptrank.engine.base import Slot, Tree
from promptrank.errors import ErrorRow
from promptrank.prompt.blocks import Parts
from promptrank.prompt.budget import Cuts
from promptrank.records import Request


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request as an engine takes it.

    Attributes:
        request: as it was given.
        tree: its ids; None where no candidate can be scored. Ids are tuples of ints.
        candidate_ids: of the tree's branches, in order.
        questions: names of the questions, in the order of every branch's slots.
        paths: per question (answer name, wording), in the order of its slot's paths.
        errors: what was set aside. With a candidate id: that candidate. Without one: the whole
            request where ``tree`` is None, else an event (the reason begins with ``event_``).
        cuts: what the prompt leaves out.
    """

    request: Request
    tree: Tree | None
    candidate_ids: tuple[str, ...]
    questions: tuple[str, ...]
    paths: tuple[tuple[tuple[str, str], ...], ...]
    errors: tuple[ErrorRow, ...]
    cuts: Cuts


@dataclass(frozen=True, slots=True)
class Assembled:
    """A request within its budget: what stands in its prompt, as fragments whose ids are known."""

    instruction: Parts
    subject: Parts
    events: tuple[Parts, ...]
    candidates: tuple[tuple[str, Parts, tuple[Parts, ...], tuple[Slot, ...]], ...]
    errors: tuple[ErrorRow, ...]
    cuts: Cuts
