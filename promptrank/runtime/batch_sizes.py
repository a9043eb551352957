"""How many works an engine begins together."""

from bisect import bisect_left

BOUNDS = (1, 2, 4, 8, 16, 32, 64)


class BatchSizes:
    """Counts by size; added to by whoever has the engine's turn, read by anybody.

    Attributes:
        counts: groups of at most so many works as `BOUNDS` says, and larger ones; none is counted
            twice.
        works: in all of them together.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.works = 0

    def add(self, works: int) -> None:
        """A group of so many works is begun."""
        self.counts[bisect_left(BOUNDS, works)] += 1
        self.works += works
