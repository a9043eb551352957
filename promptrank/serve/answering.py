"""From a body to its answer: checked, seated, ranked, written; or refused."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from starlette.requests import Request as HttpRequest

from promptrank.engine.contract import TreeScore
from promptrank.errors import DataError, InputError
from promptrank.ranking.method import Work
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.dicts import UNNAMED
from promptrank.runtime.opened import Opened
from promptrank.serve.afterwards import Afterwards
from promptrank.serve.bodies import Intake
from promptrank.serve.bounds import Bounds
from promptrank.serve.counted import ServerNumbers
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.looking_up import LookingUp, sizes, with_rows
from promptrank.serve.pace import EnginePace
from promptrank.serve.refused import Refusal, Refused, refuse
from promptrank.serve.seats import Seats, Ticket
from promptrank.serve.shape import Done, HttpShape, Wanted
from promptrank.serve.trail import Trail, begin_trail

DEADLINE = "x-deadline-ms"
"""Header: milliseconds from the request's arrival by which the answer has to be there."""

_QUICK = 0.008
"""Seconds for which the event loop may be held up by what is ranked in it."""


class Answering:
    """Answers bodies of any shape; for one event loop.

    Attributes:
        afterwards: are told of every answer.
    """

    def __init__(self, hosted: Hosted, bounds: Bounds) -> None:
        self.hosted, self.bounds = hosted, bounds
        self.afterwards: list[Afterwards] = []
        self.intake, self.seats = Intake(bounds), Seats(bounds)
        self.looking_up = LookingUp(bounds)
        self.counted = ServerNumbers(hosted, self.seats)
        self._paces: WeakKeyDictionary[Opened[Any], EnginePace] = WeakKeyDictionary()

    async def answer(self, shape: HttpShape[Any], request: HttpRequest, request_id: str) -> Any:
        """The answer to one call.

        Raises:
            Refused: there is none.
            ClientGone: nobody waits for it any more.
        """
        trail = begin_trail(request, request_id)
        trail.stage("read")
        end = asyncio.get_running_loop().time() + self._seconds(request)
        async with self.intake.take(request) as (data, size):
            trail.sent = data
            body = shape.parsed(data)
            served, wanted = self._wanted(shape, body)
            trail.task = served.name
            if served.tables is not None:
                trail.stage("look_up")
            wanted = await self.looking_up.complete(served, wanted, shape.invalid, size, end)
            trail.candidates = sum(len(asked.candidates) for asked in wanted.requests)
            if self._at_once(served, wanted):
                done = self._rank_at_once(served, wanted, trail)
            else:
                done = await self._unless_gone(
                    request, self._rank(served, wanted, size, end, trail)
                )
            done = with_rows(done, wanted)
            trail.stage("write")
            trail.tokens = done.tokens
            self.counted.ranked(served.name, done.rankings, done.tokens)
            _check_scored(done, wanted)
            written = shape.write(body, done)
            for tell in self.afterwards:
                tell(done, wanted, size)
            return written

    def _seconds(self, request: HttpRequest) -> float:
        given = request.headers.get(DEADLINE)
        if given is None:
            return self.bounds.seconds
        if not (given.isascii() and given.isdigit() and 0 < len(given) < 10 and int(given) > 0):
            raise refuse(
                422, "wrong_deadline", "X-Deadline-Ms: expected whole milliseconds above 0"
            )
        return min(int(given) / 1000, self.bounds.seconds)

    def _wanted(self, shape: HttpShape[Any], body: Any) -> tuple[HostedTask, Wanted]:
        try:
            wanted = shape.read(body)
        except DataError as error:
            raise refuse(shape.invalid, "wrong_request", str(error)) from None
        served = self.hosted.task(wanted.task)
        candidates, events = sizes(wanted)
        if candidates > self.bounds.candidates:
            raise refuse(
                shape.invalid,
                "too_many",
                f"{candidates:,} candidates, more than {self.bounds.candidates:,} in one call",
            )
        if events > self.bounds.events:
            raise refuse(
                shape.invalid,
                "too_many",
                f"{events:,} events of history, more than {self.bounds.events:,}; send the last",
            )
        return served, wanted

    async def _rank(
        self, served: HostedTask, wanted: Wanted, size: int, end: float, trail: Trail
    ) -> Done:
        ranker, pace = served.ranker, self._pace(served)
        requests = named_requests(wanted.requests, trail.request_id)
        ticket = Ticket(ranker.opened.engine.size)

        def watch(works: Sequence[Work], results: Sequence[Future[TreeScore]]) -> None:
            trail.stage("engine")
            ticket.watch(works, results)

        def rank() -> list[Ranking]:
            trail.stage("encode")
            begun = time.thread_time()
            rankings = list(ranker.rank_many(requests, watch=watch, policy=wanted.policy))
            pace.spent(_rows(wanted), time.thread_time() - begun)
            return rankings

        trail.stage("wait")
        large = self.bounds.is_large(size, _rows(wanted))
        pace.check(_rows(wanted), end - asyncio.get_running_loop().time())
        try:
            with pace.under_way(_rows(wanted)):
                rankings = await self.seats.take(rank, ticket, large, end)
        except InputError as error:  # the engine is gone, or an adapter
            raise _engine_gone(error, trail) from None
        trail.cached = ticket.cached
        return Done(trail.request_id, served, rankings, ticket.tokens, wanted.looked_up)

    def _pace(self, served: HostedTask) -> EnginePace:
        """That of the engine, which several tasks may share."""
        return self._paces.setdefault(served.ranker.opened, EnginePace())

    def _at_once(self, served: HostedTask, wanted: Wanted) -> bool:
        """Whether it takes less long than handing it to a thread may: students' small requests."""
        cpu = self._pace(served).cpu
        if served.ranker.encoder is not None or cpu is None:
            return False
        return _rows(wanted) * cpu < _QUICK

    def _rank_at_once(self, served: HostedTask, wanted: Wanted, trail: Trail) -> Done:
        requests = named_requests(wanted.requests, trail.request_id)
        trail.stage("engine")
        pace, begun = self._pace(served), time.thread_time()
        try:
            with pace.under_way(_rows(wanted)):
                rankings = list(served.ranker.rank_many(requests, policy=wanted.policy))
        except InputError as error:
            raise _engine_gone(error, trail) from None
        pace.spent(_rows(wanted), time.thread_time() - begun)
        return Done(trail.request_id, served, rankings, 0, wanted.looked_up)

    async def _unless_gone(self, request: HttpRequest, work: Any) -> Done:
        """What ``work`` comes to; it is cancelled when the client closes the connection."""
        ranking = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait([ranking, gone], return_when=asyncio.FIRST_COMPLETED)
            if ranking.done():
                return ranking.result()  # type: ignore[no-any-return]
            raise ClientGone
        finally:
            gone.cancel()
            ranking.cancel()


def _rows(wanted: Wanted) -> int:
    """Candidates and events of what is asked."""
    return sum(len(asked.candidates) + len(asked.history) for asked in wanted.requests)


def named_requests(requests: Sequence[Request], request_id: str) -> list[Request]:
    """Requests that bring no id have the call's: what is drawn for one can be told, and drawn anew.

    Args:
        request_id: of the call; of several requests each has its number behind it.
    """
    return [
        request
        if request.request_id != UNNAMED
        else replace(request, request_id=request_id if len(requests) == 1 else f"{request_id}#{n}")
        for n, request in enumerate(requests)
    ]


def _engine_gone(error: InputError, trail: Trail) -> Refused:
    """The engine cannot be used, or an adapter; why is for the log, as it may name folders."""
    trail.cause = str(error)
    message = f"the engine cannot be used now; the log has why under {trail.request_id}"
    return refuse(503, "engine", message, {"Retry-After": "5"})


class ClientGone(Exception):
    """The client has closed the connection."""


async def _gone(request: HttpRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _check_scored(done: Done, wanted: Wanted) -> None:
    """Refuse where nothing was scored, and where something was cut that must be whole."""
    rows = [row for ranking in done.rankings for row in ranking.errors]
    nothing = len(done.rankings) == 1 and not done.rankings[0].scored
    if rows and nothing and not done.rankings[0].removed:
        status = 500 if any(row.stage == "engine" and _ours(row.reason) for row in rows) else 422
        message = f"nothing could be ranked: {rows[0].message}{_plain_texts(done, wanted)}"
        raise Refused(Refusal(status, rows[0].reason, message, rows[:20]))
    if wanted.whole and any(ranking.cuts.any for ranking in done.rankings):
        raise refuse(
            422,
            "cut",
            "a text is longer than the task's budget, and was not to be truncated; shorten it, "
            "or allow truncation",
        )


def _plain_texts(done: Done, wanted: Wanted) -> str:
    """What to do where plain texts came to a task whose template asks for other fields."""
    rows = [row for ranking in done.rankings for row in ranking.errors]
    items = [each.item.fields for asked in wanted.requests for each in asked.candidates]
    if wanted.given or rows[0].reason != "undefined" or any(set(x) != {"text"} for x in items):
        return ""
    first = "" if wanted.task is not None else ", first of all: a request without one goes to it"
    return (
        f"; {done.served.name} ranks no plain texts: serve and name a task that does, such as "
        f"rerank/generic{first}"
    )


def _ours(reason: str) -> bool:
    """Whether an engine's failure is not the request's doing."""
    return reason != "too_long"
