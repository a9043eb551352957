"""An edit: one thing changed in what a ranker sees, and what edits are made of."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from promptrank.errors import InputError
from promptrank.prompt.template import Template
from promptrank.records import Request
from promptrank.schema.task import Task

LOOKED_AT = 1000  # requests, where one that serves is enough


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing changed; the ranking is made once more with it, and nothing else differs.

    Attributes:
        name: ``history:shuffled``, the probe's own or with what tells its edits apart.
        change: in words: ``past events in a random order``.
        request: changes a request; None where requests stay as they are.
        task: the task with other words; None where its words stay.
        left_out: blocks of the template that print nothing.
        plain: nothing is changed at all: the ranking itself, as the end of a curve.
        impossible: why it cannot be made here, where others of the same probe can.
    """

    name: str
    change: str
    request: Callable[[Request], Request] | None = None
    task: Task | None = None
    left_out: frozenset[str] = frozenset()
    plain: bool = False
    impossible: str | None = None


@dataclass(frozen=True, slots=True)
class ProbedTask:
    """What a probe may look at before anything is ranked.

    Attributes:
        template: None where a student or a baseline ranks, which read fields and no prompt.
        requests: those that will be ranked, as often as they are wanted.
    """

    task: Task
    template: Template | None
    requests: Iterable[Request]

    def some(self) -> Iterator[Request]:
        """The first requests."""
        return islice(self.requests, LOOKED_AT)

    def prints(self, root: str) -> bool:
        """Whether a prompt says anything of ``member``, ``vars.note`` and the like."""
        if self.template is None:
            return False
        paths = {path for use in self.template.uses.values() for path in use.paths}
        return any(root == path or path.startswith(f"{root}.") for path in paths)

    def has(self, block: str) -> bool:
        """Whether the template has a block."""
        return self.template is not None and block in self.template.uses


@dataclass(frozen=True, slots=True)
class Probe:
    """One way of asking what a ranking depends on.

    Attributes:
        name: as ``--probe`` takes it.
        meaning: what it changes, for the list of probes.
        edits: gives its edits, or raises an `InputError` where there is nothing to change; is given
            what follows the colon where ``takes`` says what that is.
        prompts: whether it changes what a prompt says beside its rows, so that only a decoder that
            reads prompts can be asked.
        unmoved: whether no score may move: a test of promptrank itself.
        takes: what has to follow the name and a colon: ``KEY=VALUE``.
    """

    name: str
    meaning: str
    edits: Callable[[ProbedTask, str], list[Edit]]
    prompts: bool = False
    unmoved: bool = False
    takes: str | None = None


def refused(probe: str, why: str) -> InputError:
    """The error of a probe that cannot be made."""
    return InputError(f"--probe {probe}: {why}")
