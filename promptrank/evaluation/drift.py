"""Drift: whether quality falls with time, by a trend whose interval draws whole subjects.

Requests are parted into stretches of a week (of a day where they cover less than three weeks; of
several weeks where they would be more than `MOST`). In every draw of subjects the metric is taken
in each stretch, and a line is fitted through the stretches; so a subject who comes in several of
them counts in all of them or in none, and what few candidates of a stretch leave open is in the
line's interval. Slopes of all rankers are one family (`promptrank.evaluation.simultaneous`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.bootstrap import interval
from promptrank.evaluation.drift_rows import (
    CALENDAR,
    TRAINING,
    WEEK,
    Drift,
    DriftPoint,
    RankerDrift,
)
from promptrank.evaluation.labelled import Labelled
from promptrank.evaluation.metrics import parse_metrics
from promptrank.evaluation.part_draws import PartDraws, Parts, draw_parts
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_cells import family_of
from promptrank.evaluation.report_rows import Cell
from promptrank.evaluation.slices import Slicing
from promptrank.evaluation.survival import CHANCE
from promptrank.records import Request

DAY = 86_400.0
LEAST, MOST = 3, 26
"""Stretches that it takes to speak of a trend, and the most that a curve has."""
_MONDAY = 4 * DAY  # the first one after the beginning of unix time, a Thursday
NAME = "drift"


@dataclass(frozen=True, slots=True)
class Stretches:
    """How time is parted.

    Attributes:
        since, origin, width: as of `Drift`.
        starts: of the stretches that hold requests, ascending, in unix seconds.
    """

    since: str
    origin: float
    width: float
    starts: tuple[float, ...]

    @property
    def slicing(self) -> Slicing:
        """The stretches as parts of the candidates; what has no time is in none."""
        places = {
            round((start - self.origin) / self.width): i for i, start in enumerate(self.starts)
        }

        def code(request: Request, candidate: object) -> int:
            if request.time is None:
                return len(places)
            return places.get(math.floor((request.time - self.origin) / self.width), len(places))

        return Slicing(NAME, tuple(map(date_of, self.starts)), code)


def stretches(requests: Iterable[Request], trained_until: float | None) -> Stretches | None:
    """Stretches of the requests that are measured; None where their times span too little.

    Args:
        trained_until: time of the latest training request, None where nobody knows.
    """
    times = np.array([r.time for r in requests if r.time is not None])
    if not len(times):
        return None
    low, high = float(times.min()), float(times.max())
    after = trained_until is not None and low >= trained_until
    width = WEEK if high - low >= (LEAST - 1) * WEEK else DAY
    monday = math.floor((low - _MONDAY) / WEEK) * WEEK + _MONDAY
    origin = trained_until if after and trained_until is not None else monday
    width *= max(1, math.ceil((high - low) / width / MOST))
    places = np.unique(np.floor((times - origin) / width))
    if len(places) < LEAST:
        return None
    starts = tuple(float(origin + place * width) for place in places)
    return Stretches(TRAINING if after else CALENDAR, origin, width, starts)


def drift_of(labelled: Labelled, keep: Flags, report: Report, parted: Stretches) -> Drift | None:
    """Curves and trends of all rankers of a report; None where the metric is hardly defined.

    Args:
        labelled: with the codes of ``parted.slicing``.
        keep: rows on which every ranker has a score.
    """
    (metric,) = parse_metrics(report.metrics[:1])
    names = [row.name for row in report.rankers if row.name != CHANCE]
    count = len(parted.starts)
    codes = labelled.slices[NAME]
    parts = draw_parts(labelled, keep, names, metric, codes, count, report.draws, report.seed)
    weeks = np.array(parted.starts) / WEEK
    slopes = {}
    for name, drawn in parts.rankers.items():
        value = float(trends(weeks, parts.rows, drawn.values[None])[0])
        if not math.isnan(value):
            draws = trends(weeks, parts.rows, drawn.draws) if len(drawn.draws) else None
            slopes[name] = value, draws
    if not slopes:
        return None
    made = family_of(slopes, lower_is_better=metric.lower_is_better)
    rankers = tuple(
        RankerDrift(name, _points(parts, drawn, parted), made.get(name))
        for name, drawn in parts.rankers.items()
    )
    return Drift(report.metrics[0], parted.since, parted.origin, parted.width, rankers)


def date_of(seconds: float) -> str:
    """The day of a moment in UTC; the number itself where it is none that a calendar has."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"


def trends(at: Floats, weight: Codes, values: Floats) -> Floats:
    """Slopes of weighted least squares, one a row; NaN where fewer than `LEAST` are defined.

    Args:
        at, weight: (points,).
        values: (rows, points); NaN where undefined.
    """
    known = ~np.isnan(values)
    weights = np.where(known, weight, 0).astype(np.float64)
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = at - (weights * at).sum(axis=1, keepdims=True) / total
        rise = (weights * away * np.where(known, values, 0.0)).sum(axis=1)
        slopes: Floats = rise / (weights * away**2).sum(axis=1)
    slopes[known.sum(axis=1) < LEAST] = np.nan
    return slopes


def _points(parts: Parts, drawn: PartDraws, parted: Stretches) -> tuple[DriftPoint, ...]:
    points = []
    for place, (start, measured) in enumerate(zip(parted.starts, drawn.measured, strict=True)):
        value = float(drawn.values[place])
        ends = interval(drawn.draws[:, place]) if len(drawn.draws) else None
        known = not math.isnan(value)
        reason = None if ends is not None else measured.reason or "too few subjects"
        cell = Cell(
            max(0.0, value) if known else None,
            max(0.0, ends.low) if known and ends is not None else None,
            max(0.0, ends.high) if known and ends is not None else None,
            reason if known else measured.reason or "its rows have weight 0",
            measured.unit,
            measured.used,
            measured.left_out,
        )
        count, subjects = int(parts.rows[place]), int(parts.subjects[place])
        points.append(DriftPoint(start, count, subjects, cell))
    return tuple(points)
