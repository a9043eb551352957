"""What encoding a request gives: its tree and what was left out, or the fragments it is made of."""

from dataclasses import dataclass

from promptrank.engine.contract import Slot, Tree
from promptrank.errors import ErrorRow
from promptrank.prompt.blocks import Parts
from promptrank.prompt.budget import Cuts
from promptrank.prompt.rendering import Asked
from promptrank.records import Event, Request


@dataclass(frozen=True, slots=True)
class Turn:
    """An answered question of the history (``as: turns``), and where in the prefix it stands.

    Attributes:
        event: what it shows; rendered as of the event's own time, with its own statistics.
        question: its name.
        at: index in ``Tree.prefix`` of the first token of the answer's path.
        slot: the question's tail and paths; its ids stand right before ``at``.
        path: which of the slot's paths stands at ``at``.
    """

    event: Event
    question: str
    at: int
    slot: Slot
    path: int


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
        turns: under ``as: turns``, the answered questions of the prefix, in order, for whoever
            wants them of `Encoder.encode_many`.
    """

    request: Request
    tree: Tree | None
    candidate_ids: tuple[str, ...]
    questions: tuple[str, ...]
    paths: tuple[tuple[tuple[str, str], ...], ...]
    errors: tuple[ErrorRow, ...]
    cuts: Cuts
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Assembled:
    """A request within its budget: what stands in its prompt, as fragments whose ids are known.

    Attributes:
        asked: per event in ``events``, the event and what its fragments were made of.
    """

    instruction: Parts
    subject: Parts
    events: tuple[Parts, ...]
    candidates: tuple[tuple[str, Parts, tuple[Parts, ...], tuple[Slot, ...]], ...]
    errors: tuple[ErrorRow, ...]
    cuts: Cuts
    asked: tuple[tuple[Event, Asked], ...] = ()
