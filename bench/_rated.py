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


class RatedEngine:
    """Answers so many candidates a second, and never more; sleeps for what a device would take.

    It keeps the contract but for the numbers, which depend on lengths alone.

    Attributes:
        begun: `time.perf_counter` of its first step; None before.
        waits: seconds that it had nothing to do before each later step.
    """

    window = Window(64, 1_000_000)
    groups = 1

    def __init__(self, info: EngineInfo, rate: float | None) -> None:
        """Take a rate; None for an engine that answers at once."""
        self.info, self._rate = info, rate
        self.begun: float | None = None
        self.waits: list[float] = []
        self._free = 0.0  # when the device has done what it was given

    def size(self, tree: Tree) -> int:
        """Windows are filled by trees alone."""
        return 1

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """One group a step."""
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
        if self._rate is not None:
            time.sleep(max(0.0, self._free - time.perf_counter()))
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
