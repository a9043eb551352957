"""Who is ranked when: seats, a bounded line before them, deadlines, and giving up.

Each request that has a seat is ranked by a thread of its own; an opened engine takes what these
threads ask into shared forward passes and lets them take steps in turn, so a small request is
answered after few steps beside however large a one. Large requests take half the seats at most, so
that there is always one for a small one.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from promptrank.caching.known_tree import PartlyKnown
from promptrank.engine.contract import TreeScore
from promptrank.ranking.method import Work
from promptrank.serve.bounds import Bounds
from promptrank.serve.refused import Refused, refuse

T = TypeVar("T")


class Ticket:
    """One request's place; whoever holds it may give the request up, from any thread.

    Attributes:
        tokens: of what was asked of an engine so far; 0 for what reads no tokens.
    """

    def __init__(self, size: Callable[[Any], int]) -> None:
        """Take what tells the tokens of a work."""
        self.tokens = 0
        self._size = size
        self._lock = threading.Lock()
        self._given_up = False
        self._asked: list[Future[TreeScore]] = []
        self._results: list[Future[TreeScore]] = []

    def watch(self, works: Sequence[Work], results: Sequence[Future[TreeScore]]) -> None:
        """A `promptrank.ranking.loop.Watch`."""
        self.tokens += sum(map(self._size, works))
        with self._lock:
            self._results += results
            self._asked = [result for result in self._asked if not result.done()]
            self._asked += results
            given_up = self._given_up
        if given_up:
            self.give_up()

    @property
    def cached(self) -> int | None:
        """Prompts that were answered from the score cache; None where there is none.

        Of what is there by now: ask once all is.
        """
        with self._lock:
            done = [each for each in self._results if each.done() and not each.cancelled()]
        scores = [each.result() for each in done if each.exception() is None]
        hits = [each.hits for each in scores if isinstance(each, PartlyKnown)]
        return sum(hits) if hits else None

    def give_up(self) -> None:
        """What is not computed yet is dropped; whoever waits for it gets CancelledError."""
        with self._lock:
            self._given_up = True
            asked, self._asked = self._asked, []
        for result in asked:
            result.cancel()


class Seats:
    """Runs calls in threads, so many at once; for one event loop."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._pool = ThreadPoolExecutor(bounds.at_once, "rank")
        self._free = asyncio.Semaphore(bounds.at_once)
        self._for_large = asyncio.Semaphore(max(1, bounds.at_once // 2))
        self._seconds = 0.1  # that a call took lately
        self.waiting = 0
        self.under_way = 0

    async def take(self, call: Callable[[], T], ticket: Ticket, large: bool, end: float) -> T:
        """What ``call`` returns; cancelling this gives the ticket up.

        Args:
            large: whether the request is (`Bounds.is_large`).
            end: of the event loop's clock; what has no seat by then is never begun.

        Raises:
            Refused: too many wait (429), or it is past the deadline (504).
        """
        try:
            async with asyncio.timeout_at(end):
                await self._sit(large)
        except TimeoutError:
            raise _late() from None
        thread = self._pool.submit(_called, call)
        self.under_way += 1
        begun, loop = time.monotonic(), asyncio.get_running_loop()
        thread.add_done_callback(
            lambda _: loop.call_soon_threadsafe(self._stand_up, large, time.monotonic() - begun)
        )
        answer = asyncio.wrap_future(thread)
        try:
            # Unlike awaiting it, this leaves the thread its future: a seat is free when it is.
            await asyncio.wait([answer], timeout=end - loop.time())
            if not answer.done():
                raise _late()
            return answer.result()
        finally:
            if not answer.done():
                ticket.give_up()
                answer.add_done_callback(_forget)

    def close(self) -> None:
        """Wait for the threads."""
        self._pool.shutdown()

    async def _sit(self, large: bool) -> None:
        wanted = self._for_large if large else self._free
        if (wanted.locked() or self._free.locked()) and self.waiting >= self._bounds.queue:
            raise self._full()
        self.waiting += 1
        try:
            if large:
                await self._for_large.acquire()
            try:
                await self._free.acquire()
            except BaseException:
                if large:
                    self._for_large.release()
                raise
        finally:
            self.waiting -= 1

    def _stand_up(self, large: bool, seconds: float) -> None:
        self.under_way -= 1
        self._seconds += 0.1 * (seconds - self._seconds)
        self._free.release()
        if large:
            self._for_large.release()

    def _full(self) -> Refused:
        ahead = self.waiting + self.under_way
        wait = max(1, math.ceil(ahead * self._seconds / self._bounds.at_once))
        return refuse(
            429,
            "busy",
            f"{self.waiting} requests wait already; try again in {wait} s",
            {"Retry-After": str(min(wait, 60))},
        )


def _called(call: Callable[[], T]) -> T:
    try:
        return call()
    except CancelledError:  # which asyncio would take for a cancelled task
        raise _late() from None


def _late() -> Refused:
    return refuse(504, "deadline", "no answer by the deadline; what was left of it was dropped")


def _forget(answer: "asyncio.Future[Any]") -> None:
    """Look at an error that nobody waits for, or asyncio would write it into the log."""
    if not answer.cancelled():
        answer.exception()
