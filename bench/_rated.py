"""An engine that takes as long as a device of a certain speed would, and knows no model."""

import time
from collections.abc import Iterable, Iterator, Sequence

from promptrank.engine.contract import (
    Branch,
    EngineInfo,
    SlotScore,
    Steps,
    Tree,
    TreeScore,
    Window,
)
from promptrank.engine.windows import in_order

_MESSAGE = 0.01  # seconds between two messages of a device


class RatedEngine:
    """Answers so many candidates a second, and never more; sleeps for what a device would take.

    It keeps the contract but for the numbers, which depend on lengths alone.

    Attributes:
        groups: how many it takes: 2, so that the next is there before the last is answered, is what
            the engines do that compute elsewhere (``vllm`` and ``http``).
        begun: `time.perf_counter` of its first group; None before.
        waits: seconds that it had nothing to do before each later group.
    """

    window = Window(64, 1_000_000)

    def __init__(self, info: EngineInfo, rate: float | None, groups: int) -> None:
        """Take a rate; None for an engine that answers at once."""
        self.info, self._rate, self.groups = info, rate, groups
        self.begun: float | None = None
        self.waits: list[float] = []
        self._free = 0.0  # when the device has done what it was given

    def size(self, tree: Tree) -> int:
        """Windows are filled by trees alone."""
        return 1

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """A group once it is done; until then each step waits a little, or all of it if alone."""
        now = time.perf_counter()
        if self.begun is None:
            self.begun = now
        if self._rate is not None:
            if self._free:
                self.waits.append(max(0.0, now - self._free))
            # What it idled is lost; that a sleep was too long is not the host's fault.
            self._free = max(now, self._free) + sum(len(t.branches) for t in trees) / self._rate
        # Answers are part of an engine's work, so they are made within the time that it has.
        made: list[tuple[int, TreeScore]] = [
            (place, tuple(map(_branch, tree.branches))) for place, tree in enumerate(trees)
        ]
        due = self._free
        while self._rate is not None and (left := due - time.perf_counter()) > 0:
            if self.groups == 1:
                time.sleep(left)
            else:
                time.sleep(min(left, _MESSAGE))
                yield []
        yield made

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order."""
        return in_order(self, trees)

    def load(self, adapter: str) -> None:
        """Any name will do."""

    def unload(self, adapter: str) -> None:
        """There is nothing to give back."""

    def close(self) -> None:
        """Nothing to give back."""


def _branch(branch: Branch) -> tuple[SlotScore, ...]:
    odd = len(branch.ids) % 7 / 10
    return tuple(
        SlotScore(tuple(-1.5 - odd - place / 4 for place in range(len(slot.paths))), 0.75, 0)
        for slot in branch.slots
    )
