"""Keys and values of instructions that trees share, kept between the groups of an engine."""

from collections import OrderedDict, deque
from collections.abc import Iterator

from promptrank.engine.contract import Tree
from promptrank.engine.cutting import KeptKeys

_SHORT = 16  # fewer shared tokens are not worth keeping
_KEPT = 4
_MET = 16  # so many of the last ones are known again

Key = tuple[str | None, tuple[int, ...]]
"""The adapter that they were computed with, and the instruction's token ids."""


class KeptInstructions:
    """The last few instructions, each with the adapter that it was computed with.

    Attributes:
        hits: trees whose instruction was kept.
        misses: trees whose instruction was not.
    """

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        self._kept: OrderedDict[Key, KeptKeys] = OrderedDict()
        self._met: deque[Key] = deque(maxlen=_MET)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._kept)

    def get(self, key: Key) -> KeptKeys | None:
        """What is kept of an instruction, if it is filled."""
        past = self._kept.get(key)
        # Not filled: a run was given up before its first forward.
        return past if past and past.layers else None

    def keep(self, key: Key) -> KeptKeys:
        """Room for an instruction's keys and values, which a forward will fill."""
        past = self._kept[key] = KeptKeys(len(key[1]))
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return past

    def meet(self, key: Key) -> None:
        """Know an instruction again that came once and was not kept."""
        self._met.append(key)

    def was_met(self, key: Key) -> bool:
        """Whether it came lately."""
        return key in self._met

    def count(self, kept: bool) -> None:
        """Count a tree that has an instruction."""
        self.hits += kept
        self.misses += not kept

    def drop(self, adapter: str) -> None:
        """Drop what was computed with an adapter."""
        for key in [key for key in self._kept if key[0] == adapter]:
            del self._kept[key]

    def clear(self) -> None:
        """Drop all, and know none again."""
        self._kept.clear()
        self._met.clear()


def instruction(tree: Tree) -> tuple[int, ...]:
    """The leading tokens worth keeping; one prefix token at least stays, for answers after it."""
    head = tuple(tree.prefix[: min(tree.shared, len(tree.prefix) - 1)]) if tree.prefix else ()
    return head if len(head) >= _SHORT else ()
