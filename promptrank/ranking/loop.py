"""The one loop from requests to rankings: batches and live requests run these same lines."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from promptrank.engine.contract import Tree, TreeScore
from promptrank.ranking.method import AdapterOf, Asking, Method, Work
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.runtime.opened import Opened

Watch = Callable[[Sequence[Work], Sequence[Future[TreeScore]]], None]
"""Is given work and its results to come as it is submitted. Whoever cancels these, from any thread,
gives the requests up: their loop then raises CancelledError."""


@dataclass(slots=True)
class _Started:
    """An asking under way: the work of its round, and then the results to come; or its ranking."""

    asking: Asking
    work: Sequence[Work] = ()
    results: list[Future[TreeScore]] = field(default_factory=list)
    ranking: Ranking | None = None

    def step(self, results: Sequence[TreeScore] | None) -> None:
        """Go on with the results of the round; None to begin."""
        try:
            self.work = next(self.asking) if results is None else self.asking.send(results)
        except StopIteration as end:
            self.ranking, self.work = end.value, ()


def rankings(
    method: Method,
    opened: Opened[Any],
    requests: Iterable[Request],
    adapter_of: AdapterOf | None = None,
    watch: Watch | None = None,
    ordered: int = 0,
) -> Generator[Ranking, None, None]:
    """One ranking per request, in order, lazily.

    First rounds are gathered into groups as large as the engine likes; later rounds of a request
    go on while its neighbours are still in their first. Closing the iterator gives up what is
    under way.

    Args:
        watch: sees what is submitted.
        ordered: so many requests at a time are asked, and given, in the order of (adapter, prefix),
            so that an engine that keeps prefixes has them; 0 for the order they come in.

    Raises:
        CancelledError: (of concurrent.futures) whoever watches has given it up.
    """
    under_way: deque[deque[_Started]] = deque()
    try:
        begun = map(_begun, method.start(requests, adapter_of))
        for group in _groups(_by_prefix(begun, ordered) if ordered else begun, opened):
            under_way.append(deque(group))
            _submit(group, opened, watch)
            if len(under_way) >= opened.ahead:
                yield from _finish(under_way[0], opened, watch)
                under_way.popleft()
        for waiting in under_way:
            yield from _finish(waiting, opened, watch)
    finally:
        for waiting in under_way:
            for started in waiting:
                for result in started.results:
                    result.cancel()


def _begun(asking: Asking) -> _Started:
    started = _Started(asking)
    started.step(None)
    return started


def _by_prefix(begun: Iterator[_Started], window: int) -> Iterator[_Started]:
    """So many at a time in the order of what they share, those that share nothing as they come."""
    while together := list(islice(begun, window)):
        yield from sorted(together, key=_shares)


def _shares(started: _Started) -> tuple[str, tuple[int, ...]]:
    """Adapter and prefix of the first work."""
    work = started.work[0] if started.work else None
    return (work.adapter or "", tuple(work.prefix)) if isinstance(work, Tree) else ("", ())


def _groups(begun: Iterable[_Started], opened: Opened[Any]) -> Iterator[list[_Started]]:
    """Requests with the work of their first round, as many as make a group."""
    group: list[_Started] = []
    works = size = 0
    for started in begun:
        group.append(started)
        works += len(started.work)
        size += sum(opened.engine.size(work) for work in started.work)
        if works >= opened.engine.window.trees or size >= opened.engine.window.tokens:
            yield group
            group, works, size = [], 0, 0
    if group:
        yield group


def _submit(group: Sequence[_Started], opened: Opened[Any], watch: Watch | None) -> None:
    works = [work for started in group for work in started.work]
    futures = opened.submit(works) if works else []
    if watch is not None and works:
        watch(works, futures)
    results = iter(futures)
    for started in group:
        started.results = [next(results) for _ in started.work]


def _finish(group: deque[_Started], opened: Opened[Any], watch: Watch | None) -> Iterator[Ranking]:
    """The rankings of a group, in order; what has been given is no longer in it."""
    while group:
        started = group[0]
        while started.ranking is None:
            started.step([opened.result(result) for result in started.results])
            _submit([started], opened, watch)
        group.popleft()
        yield started.ranking
