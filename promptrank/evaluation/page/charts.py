"""Where the marks of a chart stand; templates draw them.

Places along an axis are percentages of its width, so that a chart fits any screen while its texts
keep their size.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from promptrank.evaluation.report_rows import Cell, Difference, ReliabilityBin

_TICKS = 5
_MARGIN = 0.06  # of the width, beyond the outermost mark
SIDE = 100.0
"""A reliability curve is a square of this side, in units of its own."""


@dataclass(frozen=True, slots=True)
class AxisPlace:
    """Where a difference stands on an axis.

    Attributes:
        at: of the value, in percent of the width.
        low, high: of its own interval, the left end first; None where there is none.
        wide_low, wide_high: of its interval corrected for how many rankers are compared.
    """

    at: float
    low: float | None
    high: float | None
    wide_low: float | None = None
    wide_high: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """A line of differences that all rows of a chart share; better is always to the right.

    Attributes:
        left, right: the values at its ends; for metrics where less is better left is the larger.
        ticks: values and their places in percent, from left to right.
    """

    left: float
    right: float
    ticks: tuple[tuple[float, float], ...]

    def at(self, value: float) -> float:
        """The place of a value, in percent of the width."""
        return round(100 * (value - self.left) / (self.right - self.left), 2)

    def place(self, difference: Difference) -> AxisPlace:
        """Where a difference stands."""
        own = self._ends(difference.low, difference.high)
        wide = self._ends(difference.adjusted_low, difference.adjusted_high)
        return AxisPlace(self.at(difference.value), *own, *wide)

    def _ends(
        self, low: float | None, high: float | None
    ) -> tuple[float, float] | tuple[None, None]:
        if low is None or high is None:
            return None, None
        first, last = sorted((self.at(low), self.at(high)))
        return first, last


def axis_of(differences: Iterable[Difference], *, lower_is_better: bool) -> Axis:
    """The axis on which all these differences and 0 have room."""
    values = [0.0]
    for difference in differences:
        own = difference.low, difference.high
        ends = (difference.value, *own, difference.adjusted_low, difference.adjusted_high)
        values += [value for value in ends if value is not None and math.isfinite(value)]
    low, high = min(values), max(values)
    if low == high:  # nothing differs
        low, high = -0.01, 0.01
    margin = _MARGIN * (high - low)
    low, high = low - margin, high + margin
    left, right = (high, low) if lower_is_better else (low, high)
    axis = Axis(left, right, ())
    ticks = [(tick, axis.at(tick)) for tick in round_numbers(low, high)]
    return Axis(left, right, tuple(sorted(ticks, key=lambda tick: tick[1])))


def round_numbers(low: float, high: float, most: int = _TICKS) -> list[float]:
    """Round numbers between two ends: multiples of 1, 2 or 5 times a power of ten; 0 among them."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [number * step for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Point:
    """A bin of a reliability curve in a square of `SIDE`, with the origin at the top left.

    Attributes:
        top, bottom: ends of the observed share's interval.
        size: radius of the mark; its area goes with the rows.
    """

    x: float
    y: float
    top: float
    bottom: float
    size: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A point of a line chart, with the origin at the top left.

    Attributes:
        label: what stands below it.
        top, bottom: ends of its interval; ``y`` where there is none.
    """

    label: str
    x: float
    y: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class LineChart:
    """Points side by side, at equal distances.

    Attributes:
        width: in units of its own; it is `SIDE` high.
        ticks: values of the upright axis and their places.
    """

    width: float
    points: tuple[CurvePoint, ...]
    ticks: tuple[tuple[float, float], ...]


_STEP = 26.0  # between two points of a line


def line_chart(cells: Sequence[tuple[str, Cell]]) -> LineChart:
    """A line through values with intervals; those without a value are left out."""
    known = [(label, cell, cell.value) for label, cell in cells if cell.value is not None]
    ends = [
        (value, value if cell.low is None else cell.low, value if cell.high is None else cell.high)
        for _, cell, value in known
    ]
    every = [number for each in ends for number in each]
    low, high = min(every, default=0.0), max(every, default=1.0)
    if low == high:
        low, high = low - 0.01, high + 0.01
    margin = _MARGIN * (high - low)
    low, high = low - margin, high + margin

    def at(number: float) -> float:
        return round(SIDE * (high - number) / (high - low), 2)

    points = tuple(
        CurvePoint(label, (place + 0.5) * _STEP, at(value), at(top), at(bottom))
        for place, ((label, *_), (value, bottom, top)) in enumerate(zip(known, ends, strict=True))
    )
    ticks = tuple((number, at(number)) for number in round_numbers(low, high))
    return LineChart(_STEP * len(points), points, ticks)


def curve(bins: Sequence[ReliabilityBin]) -> Iterator[Point]:
    """The points of a reliability curve, y downwards."""
    most = max((each.rows for each in bins), default=1)
    for each in bins:
        low = each.observed if each.low is None else each.low
        high = each.observed if each.high is None else each.high
        size = 1.2 + 1.4 * math.sqrt(each.rows / most)
        x, y, top, bottom = (
            round(SIDE * number, 2)
            for number in (each.predicted, 1 - each.observed, 1 - high, 1 - low)
        )
        yield Point(x, y, top, bottom, round(size, 2))
