"""Rankings of one shard, with the ledger told who is in hand (`promptrank.runs.attempts`)."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from promptrank.engine.contract import Tree, TreeScore
from promptrank.ranking.loop import Pause, Watch
from promptrank.ranking.method import Work
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.runs.attempts import Attempt, attempt
from promptrank.runs.request_blocks import RequestBlock
from promptrank.runtime.decoders import apart


class WatchedAttempt:
    """One attempt at ranking requests.

    Attributes:
        asked: those that are ranked, in their order.
        accused: ids of those that killed the process; they are not ranked.
    """

    def __init__(self, ranker: Ranker, fresh: Sequence[Request], ledger: Attempt | None) -> None:
        """Take who ranks; without a ledger nobody is suspected.

        Args:
            fresh: the requests that need a ranking.
        """
        self._ranker, self._ledger = ranker, ledger
        self.accused = frozenset(ledger.suspicion.accused if ledger is not None else ())
        self.asked = [r for r in fresh if r.request_id not in self.accused]

    def rankings(
        self, watch: Watch, ordered: int, beside: bool = False
    ) -> Iterator[Ranking | Pause]:
        """Those of ``asked``, lazily; suspects have been ranked alone before.

        With pauses of `promptrank.ranking.loop`, where any is asked. Where a process was killed at
        an earlier attempt there is none but `ALONE`: no other shard is in hand then, and it is
        known whose fault the next kill is.

        Args:
            ordered: as of `promptrank.ranking.loop.rankings`.
            beside: whether another shard is in hand until the first pause is over; a kill before
                that is held against it, and at the next attempt nothing is begun beside it.
        """
        if not self.asked:  # no pause either: nothing would be in hand beside a shard
            return
        if self._ledger is None:
            yield from self._ranker.rank_paused(self.asked, watch, ordered)
            return
        suspected = self._ledger.suspicion.kills > 0
        if suspected:
            yield Pause.ALONE
            self._try_suspects(self._ledger)
        hand = _Hand(self._ledger, self.asked, waits=beside and not suspected)

        def both(works: Sequence[Work], results: Sequence[Future[TreeScore]]) -> None:
            hand.submitted(works)
            watch(works, results)

        for together in _segments(self.asked, self._ledger.suspicion.apart):
            drawn = map(hand.drawn, together)
            for each in self._ranker.rank_paused(drawn, both, ordered):
                if not isinstance(each, Pause):
                    hand.ranked(each)
                    yield each
                elif not suspected:
                    if each is Pause.ANSWERED:
                        hand.answered()
                    yield each
                    if each is Pause.POSED:
                        hand.begins()

    def done(self) -> None:
        """The shard is written."""
        if self._ledger is not None:
            self._ledger.done()

    def _try_suspects(self, ledger: Attempt) -> None:
        asked = {request.request_id: request for request in self.asked}
        for number, name in enumerate(ledger.suspicion.suspects):
            if name in asked:
                ledger.alone(number)
                for _ in self._ranker.rank_many([asked[name]]):
                    pass
        ledger.idle()


class _Hand:
    """Which requests are in hand: those that the engine has, else those on their way to it."""

    def __init__(self, ledger: Attempt, asked: Sequence[Request], *, waits: bool) -> None:
        """Nobody is in hand.

        Args:
            waits: nothing is written before `begins`.
        """
        self._ledger, self._waits = ledger, waits
        self._places = {request.request_id: place for place, request in enumerate(asked)}
        self._drawn = range(0)  # since the engine was last given any; they come in their order
        self._submitted: set[int] = set()  # of those that the engine has, not ranked yet
        self._first = True

    def drawn(self, request: Request) -> Request:
        place = self._places[request.request_id]
        self._drawn = range(self._drawn.start if self._drawn else place, place + 1)
        if not self._submitted and not self._waits:
            self._ledger.batch(self._drawn, self._first)
        return request

    def begins(self) -> None:
        """From now on it is these requests that are in hand."""
        self._waits = False
        if self._drawn:
            self._ledger.batch(self._drawn, self._first)

    def answered(self) -> None:
        """The engine has none of them any more."""
        self._waits = True
        self._ledger.idle()

    def submitted(self, works: Sequence[Work]) -> None:
        names = (work.tree_id if isinstance(work, Tree) else work.request_id for work in works)
        self._submitted |= {self._places[name] for name in names}
        self._drawn = range(0)
        self._waits = False
        self._ledger.batch(sorted(self._submitted), self._first)

    def ranked(self, ranking: Ranking) -> None:
        self._first = False
        self._submitted.discard(self._places[ranking.request_id])
        if not self._submitted and not self._waits:  # once a batch, not for each request of it
            self._ledger.batch(self._drawn, False)


@contextmanager
def watched_attempt(
    folder: Path, block: RequestBlock, identity: str, fresh: Sequence[Request], ranker: Ranker
) -> Iterator[WatchedAttempt]:
    """An attempt at the requests of a block.

    An engine in a process of its own needs no ledger: what kills it does not kill this process, and
    it is known there (``killed_engine``).
    """
    if apart(ranker.opened.engine):
        yield WatchedAttempt(ranker, fresh, None)
        return
    ids = [request.request_id for request in fresh]
    with attempt(folder, block.number, identity, block.content, ids) as ledger:
        yield WatchedAttempt(ranker, fresh, ledger)


def _segments(requests: Sequence[Request], alone: frozenset[str]) -> Iterator[list[Request]]:
    """All requests together, but for those that are to be ranked alone."""
    if not alone:
        yield list(requests)
        return
    numbered = enumerate(requests)

    def group(place: tuple[int, Request]) -> int:
        number, request = place
        return number if request.request_id in alone else -1

    for _, together in groupby(numbered, group):
        yield [request for _, request in together]
