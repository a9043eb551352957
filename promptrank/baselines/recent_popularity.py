"""The baseline ``recent_popularity``: how often an item was acted on of late, as of the request.

A count within a window, always as of the request:

* by the task's own statistic, where it declares one that counts the rows of an item ``within`` a
  window: its value is exact, and the window is the task's. The first one declared is taken.
* else by the as-of counts of `promptrank.records.Candidate.baseline`, over `DAYS` days: the count
  before this request, less the count before the latest request at or before the window's start that
  had the item among its candidates; all of it where none had. So for items that are seldom asked
  about the window reaches further back, and never forward.

Requests of every split tell such counts, because each is of what lay before its own time. Labels
are not read: a request's candidates may have been acted on later than its time, and only the tables
know when.
"""

from bisect import bisect_right

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Request
from promptrank.schema.task import Task

DAYS = 30
DAY = 86_400.0


class RecentPopularityFit:
    """Notes as-of counts of items, about 90 bytes each and some more per item."""

    def __init__(self, aim: Aim) -> None:
        """Know of no count yet."""
        self._task = aim.task
        self._statistic = recent_statistic(aim.task)
        self._seen: dict[str, list[tuple[float, float]]] = {}
        self._times = False

    def add(self, request: Request) -> None:
        """Note the counts of a request's candidates."""
        if request.time is None:
            return
        self._times = True
        if self._statistic is not None:
            return
        for candidate in request.candidates:
            count = candidate.baseline.get("item_count")
            if count is not None:
                self._seen.setdefault(candidate.item.item_id, []).append((request.time, count))

    def fit(self, sources: Sources) -> Baseline:
        """The counts; a reason where the data knows no time, or no counts."""
        if self._task.ordered_only:
            return Baseline(None, "the data has an order and no clock, so nothing is recent")
        if not self._times:
            return Baseline(None, "no request has a time, so nothing is recent")
        name = self._statistic
        if name is not None:
            return Baseline(self._by_statistic, facts={"counts": f"stats.{name}"})
        if not self._seen:
            return Baseline(
                None, "no candidate has an as-of count (baseline.item_count, which build writes)"
            )
        for observed in self._seen.values():
            observed.sort()
        return Baseline(self._by_counts, facts={"counts": "baseline.item_count", "days": DAYS})

    def _by_statistic(self, request: Request) -> Values:
        name = self._statistic or ""
        return Values([candidate.stats.get(name) for candidate in request.candidates])

    def _by_counts(self, request: Request) -> Values:
        time = request.time
        if time is None:
            return Values([None] * len(request.candidates))
        return Values([self._since(c, time - DAYS * DAY) for c in request.candidates])

    def _since(self, candidate: Candidate, start: float) -> float | None:
        if not candidate.baseline:
            return None
        count = candidate.baseline.get("item_count") or 0.0
        observed = self._seen.get(candidate.item.item_id, [])
        place = bisect_right(observed, start, key=lambda each: each[0])
        return count - (observed[place - 1][1] if place else 0.0)


def recent_statistic(task: Task) -> str | None:
    """The first statistic that counts an item's rows within a window, as a number and no rank."""
    for name, statistic in task.statistics.items():
        counts = statistic.count is not False and statistic.within is not None
        if statistic.of == "item" and counts and not statistic.percentile:
            return name
    return None
