"""Shadows: a share of the requests is scored a second time, by another ranker, for the log alone.

It begins once the answer is given and nobody else is being ranked or waits, and is given up for
whoever comes; what was given up too often, or finds the line full, is dropped and counted. So a
request waits for a step of a shadow that was begun, and for no more.
"""

import asyncio
import traceback
from collections import Counter, deque
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Total
from starlette.applications import Starlette
from starlette.types import Lifespan

from promptrank.basics.telling import Say, silent
from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.serve.afterwards import held_by, log_record
from promptrank.serve.seats import Seats, Ticket
from promptrank.serve.serving_log import ServingLog
from promptrank.serve.shape import Done, Wanted

_LINE = 256  # requests that wait to be scored again
_ATTEMPTS = 5
_LOOK = 0.005  # seconds between looks whether somebody has come


@dataclass(frozen=True, slots=True)
class Shadow:
    """A ranker beside the one that answers.

    Attributes:
        name: what its scores are called in the log.
        share: of the requests, by a hash of their ids.
    """

    name: str
    share: float
    ranker: Ranker


@dataclass(slots=True)
class _Waiting:
    task: str
    shadow: Shadow
    request: Request
    size: int
    policy: bool
    attempts: int = 0


class Shadows:
    """Scores again, one request at a time; for one event loop. An `Afterwards`.

    Attributes:
        counts: (task, shadow, outcome) -> rankings.
    """

    def __init__(self, log: ServingLog, say: Say = silent) -> None:
        self._log, self._say = log, say
        self._of: dict[str, list[Shadow]] = {}
        self._line: deque[_Waiting] = deque()
        self._some = asyncio.Event()
        self._calls = 0  # answered so far; a student's may be without a seat
        self._pool = ThreadPoolExecutor(1, "shadow")
        self._total: Total | None = None
        self.counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, task: str, shadow: Shadow) -> None:
        """Score a share of a task's requests with this, too."""
        self._of.setdefault(task, []).append(shadow)

    def __call__(self, done: Done, wanted: Wanted, size: int) -> None:
        """Put the chosen requests of a call in line."""
        self._calls += 1
        task = done.served.name
        for shadow in self._of.get(task, ()):
            for ranking in done.rankings:
                if not ranking.scored or not is_chosen(ranking.request_id, shadow.share):
                    continue
                if len(self._line) >= _LINE:
                    self._count(task, shadow, "dropped")
                    continue
                held = held_by(ranking, size, done)
                asked = _Waiting(task, shadow, ranking.request, held, wanted.policy)
                self._line.append(asked)
                self._some.set()

    def within(self, lifespan: Lifespan[Starlette] | None) -> Lifespan[Starlette]:
        """A life span of the application, around another one, in which shadows are scored."""

        @asynccontextmanager
        async def shadowed(app: Starlette) -> AsyncIterator[None]:
            self._count_in(app.state.answering.counted.registry)
            async with AsyncExitStack() as stack:
                if lifespan is not None:
                    await stack.enter_async_context(lifespan(app))
                task = asyncio.create_task(self._run(app.state.answering.seats))
                try:
                    yield
                finally:
                    task.cancel()
                    await asyncio.wait([task])
                    self._close()

        return shadowed

    def _count_in(self, registry: CollectorRegistry) -> None:
        self._total = Total(
            "promptrank_shadow_rankings",
            "Requests that shadows scored, or that were dropped since there was no time.",
            ("task", "shadow", "outcome"),
            registry=registry,
        )

    def _close(self) -> None:
        for each in self._line:
            self._count(each.task, each.shadow, "dropped")
        self._line.clear()
        self._pool.shutdown()
        for (task, shadow, outcome), rankings in sorted(self.counts.items()):
            self._say(f"shadow {shadow} of {task}: {rankings:,} {outcome}")

    async def _run(self, seats: Seats) -> None:
        while True:
            await self._some.wait()
            while self._line:
                while seats.under_way or seats.waiting:
                    await asyncio.sleep(_LOOK)
                each = self._line.popleft()
                try:
                    await self._score(each, seats)
                except Exception as error:  # whatever it is, the next one may go well
                    self._count(each.task, each.shadow, "failed")
                    # The engine is gone, or an adapter; or it is a fault, and then where it is.
                    known = isinstance(error, InputError)
                    why = str(error) if known else traceback.format_exc()
                    self._say(f"shadow {each.shadow.name} of {each.task}: {why}")
            self._some.clear()

    async def _score(self, each: _Waiting, seats: Seats) -> None:
        ranker = each.shadow.ranker
        ticket = Ticket(ranker.opened.engine.size)
        before = self._calls

        def call() -> Ranking | None:
            try:
                asked = [each.request]
                return next(ranker.rank_many(asked, watch=ticket.watch, policy=each.policy))
            except CancelledError:  # which asyncio would take for a cancelled task
                return None

        loop = asyncio.get_running_loop()
        scoring = loop.run_in_executor(self._pool, call)
        try:
            while not (await asyncio.wait([scoring], timeout=_LOOK))[0]:
                if seats.under_way or seats.waiting or self._calls > before:
                    ticket.give_up()
            ranking = scoring.result()
        except asyncio.CancelledError:
            ticket.give_up()
            self._count(each.task, each.shadow, "dropped")
            raise
        if ranking is None:
            each.attempts += 1
            if each.attempts >= _ATTEMPTS:
                self._count(each.task, each.shadow, "dropped")
            else:
                self._line.appendleft(each)
            return
        name = each.shadow.name
        self._log.put(log_record(each.task, ranker, ranking, each.size, shadow=name))
        self._count(each.task, each.shadow, "scored")

    def _count(self, task: str, shadow: Shadow, outcome: str) -> None:
        self.counts[task, shadow.name, outcome] += 1
        if self._total is not None:
            self._total.labels(task, shadow.name, outcome).inc()


def is_chosen(request_id: str, share: float) -> bool:
    """Whether a request is among a share, by the SHA-256 of its id; larger shares hold smaller."""
    number = int.from_bytes(sha256(request_id.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return number < share * 2**64
