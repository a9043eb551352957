"""The one loop from requests to rankings: batches and live requests run these same lines."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import IntEnum
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


class Pause(IntEnum):
    """Where a list of requests has come to, for whoever begins another before it is ranked."""

    ALONE = 0
    """Nothing is done, and nothing else may be under way beside what comes."""
    POSED = 1
    """The first requests are ready to be asked, and the engine has none yet."""
    BEGUN = 2
    """The engine has the first group."""
    ASKED = 3
    """The engine has the last group: nothing more is drawn."""
    ANSWERED = 4
    """The last group is answered; its rankings are still to be made."""
    RANKED = 5
    """There is a ranking of each."""


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
    paused = paused_rankings(method, opened, requests, adapter_of, watch, ordered, gathers=False)
    with closing(paused):
        for ranking in paused:
            if not isinstance(ranking, Pause):
                yield ranking


def paused_rankings(
    method: Method,
    opened: Opened[Any],
    requests: Iterable[Request],
    adapter_of: AdapterOf | None = None,
    watch: Watch | None = None,
    ordered: int = 0,
    *,
    gathers: bool = True,
) -> Generator[Ranking | Pause, None, None]:
    """As `rankings`, with pauses between them, once each and in their order, from `POSED` on.

    Args:
        gathers: whether the last group is answered as a whole before the first of it is given;
            there is no `ANSWERED` else, nor where nothing is left to wait for.
    """
    under_way: deque[deque[_Started]] = deque()
    try:
        begun = map(_begun, method.start(requests, adapter_of))
        groups = _groups(_by_prefix(begun, ordered) if ordered else begun, opened)
        group = next(groups, None)
        yield Pause.POSED
        first = True
        while group is not None:
            under_way.append(deque(group))
            _submit(group, opened, watch)
            if first:
                yield Pause.BEGUN
                first = False
            if len(under_way) >= opened.ahead:
                yield from _finish(under_way[0], opened, watch)
                under_way.popleft()
            group = next(groups, None)
        yield Pause.ASKED
        while under_way:
            if gathers and len(under_way) == 1:
                _wait(under_way[0], opened)
                yield Pause.ANSWERED
            yield from _finish(under_way[0], opened, watch)
            under_way.popleft()
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


def _wait(group: Iterable[_Started], opened: Opened[Any]) -> None:
    """Wait for the results of a group, whatever they are."""
    for started in group:
        for result in started.results:
            with suppress(Exception):  # whoever takes it is told
                opened.result(result)


def _finish(group: deque[_Started], opened: Opened[Any], watch: Watch | None) -> Iterator[Ranking]:
    """The rankings of a group, in order; what has been given is no longer in it."""
    while group:
        started = group[0]
        while started.ranking is None:
            started.step([opened.result(result) for result in started.results])
            _submit([started], opened, watch)
        group.popleft()
        yield started.ranking
