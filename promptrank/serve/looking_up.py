"""Requests as they came: records at once, or filled in from a task's tables where it has them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from promptrank.basics.hints import near
from promptrank.errors import DataError, InputError
from promptrank.requests.dicts import request_from_dict
from promptrank.requests.filled import LookedUp, WrongRequest
from promptrank.serve.bounds import Bounds
from promptrank.serve.hosted import HostedTask
from promptrank.serve.refused import Refused, refuse
from promptrank.serve.seats import Seats, Ticket
from promptrank.serve.shape import Done, Wanted

if TYPE_CHECKING:
    from promptrank.tables.look_up import LookUp

_AT_ONCE = 2  # look-ups hold a processor and are short: more at a time would only be slower


class LookingUp:
    """Fills in requests in threads of its own, with a line before them as the ranking has one."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.seats = Seats(replace(bounds, at_once=_AT_ONCE))

    async def complete(
        self, served: HostedTask, wanted: Wanted, invalid: int, size: int, end: float
    ) -> Wanted:
        """What is wanted, with all of its requests as records.

        Args:
            invalid: status of a request that cannot be.
            size: bytes of the body.
            end: of the event loop's clock.

        Raises:
            Refused: a request is wrong, too many wait, or it is past the deadline.
        """
        if not wanted.given:
            return wanted
        _check_stats(wanted, served, invalid)
        if served.tables is None:
            requests = []
            for place, given in enumerate(wanted.given):
                try:
                    requests.append(request_from_dict(given))
                except DataError as error:
                    raise _wrong(wanted, place, error, invalid) from None
            return replace(wanted, requests=requests)
        tables = served.tables
        large = self._bounds.is_large(size, sum(sizes(wanted)))
        try:
            looked_up = await self.seats.take(
                lambda: _filled(tables, wanted.given), Ticket(lambda work: 0), large, end
            )
        except WrongRequest as error:
            raise _wrong(wanted, error.place, error, invalid) from None
        except InputError as error:  # no memory, or no disk
            raise refuse(503, "tables", str(error), {"Retry-After": "5"}) from None
        return replace(wanted, requests=[each.request for each in looked_up], looked_up=looked_up)

    def close(self) -> None:
        """Wait for the threads."""
        self.seats.close()


def _filled(tables: "LookUp", given: Sequence[Mapping[str, Any]]) -> list[LookedUp]:
    return list(tables.look_up_many(given))


def _check_stats(wanted: Wanted, served: HostedTask, invalid: int) -> None:
    """Refuse statistics that the task does not declare; one that declares none takes any."""
    declared = served.ranker.task.statistics
    if not declared:
        return
    for place, given in enumerate(wanted.given):
        for name in ("candidates", "history"):
            entries = given.get(name)
            for i, entry in enumerate(entries if isinstance(entries, list) else ()):
                stats = entry.get("stats") if isinstance(entry, dict) else None
                if not isinstance(stats, dict):
                    continue  # what else it may be is told where requests are read
                if unknown := [each for each in stats if each not in declared]:
                    why = f"no statistic {unknown[0]!r}; {near(unknown[0], declared)}"
                    error = DataError(f"{name}[{i}].stats: {why}")
                    raise _wrong(wanted, place, error, invalid)


def _wrong(wanted: Wanted, place: int, error: DataError, invalid: int) -> Refused:
    return refuse(invalid, "wrong_request", wanted.worded(place, str(error)))


def with_rows(done: Done, wanted: Wanted) -> Done:
    """The rankings with what was asked for and is in no table among their errors."""
    if not any(each.errors for each in wanted.looked_up):
        return done
    rankings = [
        replace(ranking, errors=(*each.errors, *ranking.errors))
        for ranking, each in zip(done.rankings, wanted.looked_up, strict=True)
    ]
    return replace(done, rankings=rankings)


def sizes(wanted: Wanted) -> tuple[int, int]:
    """How many candidates there are in all, and the events of the longest history."""
    lists: list[tuple[Any, Any]] = [
        (request.candidates, request.history) for request in wanted.requests
    ]
    lists += [(given.get("candidates"), given.get("history")) for given in wanted.given]
    counts = [[len(x) if isinstance(x, list | tuple) else 0 for x in pair] for pair in lists]
    return sum(candidates for candidates, _ in counts), max((e for _, e in counts), default=0)
