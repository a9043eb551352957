"""Long runs in groups: the windows that an engine is given, and their answers in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from promptrank.engine.contract import Answers, Steps, TreeScore, Window

V = TypeVar("V")


def windows(works: Iterable[V], window: Window, size: Callable[[V], int]) -> Iterator[list[V]]:
    """Works in groups, lazily; each ends with the work that fills it (see `Window`)."""
    group: list[V] = []
    tokens = 0
    for work in works:
        group.append(work)
        tokens += size(work)
        if len(group) >= window.trees or tokens >= window.tokens:
            yield group
            group, tokens = [], 0
    if group:
        yield group


def in_order(engine: Answers[V], works: Iterable[V]) -> Iterator[TreeScore]:
    """One answer per work, in order, lazily; looks ahead over ``engine.groups`` windows.

    Raises:
        ModelError: as the engine's steps do.
    """
    under_way: deque[_Drawn] = deque()
    try:
        for works_together in windows(works, engine.window, engine.size):
            under_way.append(_Drawn(engine.begin(works_together), len(works_together)))
            if engine.groups > 1:
                # So that the engine has something to do while more is drawn.
                under_way[-1].step()
            while len(under_way) >= engine.groups:
                yield from under_way[0].answers()
                under_way.popleft().close()
        while under_way:
            yield from under_way[0].answers()
            under_way.popleft().close()
    finally:
        for group in under_way:
            group.close()


class _Drawn:
    """A group under way, and the answers that came before their turn."""

    def __init__(self, steps: Steps, count: int) -> None:
        self._steps, self._count = steps, count
        self._ready: dict[int, TreeScore] = {}

    def step(self) -> None:
        self._ready.update(next(self._steps))

    def answers(self) -> Iterator[TreeScore]:
        for place in range(self._count):
            while place not in self._ready:
                self.step()
            yield self._ready.pop(place)

    def close(self) -> None:
        self._steps.close()
