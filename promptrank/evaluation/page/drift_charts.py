"""Curves over time: where their marks stand; a template draws them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from promptrank.evaluation.drift import date_of
from promptrank.evaluation.drift_rows import TRAINING, Drift, DriftPoint, RankerDrift
from promptrank.evaluation.page.charts import round_numbers

WIDTH, HEIGHT = 150.0, 70.0
"""Of a chart, in units of its own."""
_DAY = 86_400.0
_MARGIN = 0.08  # of the height, beyond the outermost mark
_DATES = 4  # written below a chart


@dataclass(frozen=True, slots=True)
class DriftMark:
    """A stretch of time in a chart, with the origin at the top left.

    Attributes:
        y, top, bottom: of the value and of its interval; None where there is none.
        when: the date of its first day.
        after: its first day and its last, counted from the end of training; empty elsewhere.
    """

    point: DriftPoint
    x: float
    y: float | None
    top: float | None
    bottom: float | None
    when: str
    after: str


@dataclass(frozen=True, slots=True)
class DriftChart:
    """One ranker's curve.

    Attributes:
        ticks: values and their heights.
        line: the points of a line through the values, as SVG writes them.
        dates: some of the dates and their places.
    """

    ranker: RankerDrift
    marks: tuple[DriftMark, ...]
    ticks: tuple[tuple[float, float], ...]
    line: str
    dates: tuple[tuple[str, float], ...]


def drift_charts(drift: Drift) -> Iterator[DriftChart]:
    """A chart for each ranker, all on the same axes."""
    cells = [point.cell for ranker in drift.rankers for point in ranker.points]
    ends = [end for cell in cells for end in (cell.value, cell.low, cell.high) if end is not None]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    margin = _MARGIN * (high - low) or 0.01
    low, high = low - margin, high + margin

    def height(value: float | None) -> float | None:
        return None if value is None else round(HEIGHT * (high - value) / (high - low), 2)

    starts = [point.start for point in drift.rankers[0].points] if drift.rankers else []
    span = starts[-1] - starts[0] if starts else 0.0
    ticks = tuple((tick, height(tick) or 0.0) for tick in round_numbers(low, high, 4))
    for ranker in drift.rankers:
        marks = tuple(
            DriftMark(
                point,
                round(WIDTH * (point.start - starts[0]) / span, 2) if span else 0.0,
                height(point.cell.value),
                height(point.cell.high),
                height(point.cell.low),
                date_of(point.start),
                _after(drift, point),
            )
            for point in ranker.points
        )
        line = " ".join(f"{mark.x},{mark.y}" for mark in marks if mark.y is not None)
        step = max(1, math.ceil(len(marks) / _DATES))
        dates = tuple((mark.when, mark.x) for mark in marks[::step])
        yield DriftChart(ranker, marks, ticks, line, dates)


def _after(drift: Drift, point: DriftPoint) -> str:
    if drift.since != TRAINING:
        return ""
    first = round((point.start - drift.origin) / _DAY)
    last = first + round(drift.width / _DAY) - 1
    return f"{first}" if last == first else f"{first}\N{EN DASH}{last}"
