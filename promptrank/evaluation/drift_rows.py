"""What a report holds of drift: a curve of the first metric over time, and its trend."""

from dataclasses import dataclass

from promptrank.evaluation.report_rows import Cell, Difference

WEEK = 604_800.0

TRAINING, CALENDAR = "training", "calendar"


@dataclass(frozen=True, slots=True)
class DriftPoint:
    """The metric in one stretch of time.

    Attributes:
        start: its beginning, in unix seconds.
        candidates, subjects: that have a request in it.
    """

    start: float
    candidates: int
    subjects: int
    cell: Cell


@dataclass(frozen=True, slots=True)
class RankerDrift:
    """A ranker's curve.

    Attributes:
        points: one for each stretch of `Drift`, in its order.
        slope: change of the metric in a week, by least squares over the stretches, which weigh as
            many candidates as they have; ``verdict`` is ``worse`` where quality falls. Its interval
            is corrected for how many rankers are looked at. None where there is no trend to fit.
    """

    name: str
    points: tuple[DriftPoint, ...]
    slope: Difference | None


@dataclass(frozen=True, slots=True)
class Drift:
    """Curves of all rankers.

    Attributes:
        since: ``training``: stretches are counted from its end; ``calendar``: from a Monday, where
            requests that are measured lie before the end of training, or nothing trained.
        origin: from when stretches are counted, in unix seconds.
        width: of a stretch, in seconds.
    """

    metric: str
    since: str
    origin: float
    width: float
    rankers: tuple[RankerDrift, ...]

    @property
    def shown(self) -> list[RankerDrift]:
        """Rankers whose trend is clear of 0."""
        return [each for each in self.rankers if each.slope is not None and each.slope.verdict]
