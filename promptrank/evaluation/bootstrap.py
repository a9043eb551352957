"""Intervals from a paired bootstrap that draws whole subjects.

A subject's candidates are not independent of each other, so rows are never drawn alone: a draw
takes as many subjects as there are, with replacement, each with everything it has (the cluster
bootstrap; Field and Welsh 2007). Every ranker and metric sees the same draws, so a difference of
two rankers is taken within a draw. Intervals are percentile intervals, those of ECE mirrored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.measure import Estimate

DRAWS = 1000
LEVEL = 0.95
BLOCK = 4_000_000  # numbers in a block of multiplicities: 32 MB
_DEFINED = 0.9  # least share of draws in which a metric must be defined


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of an interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside."""
        return self.low > 0 or self.high < 0


def subject_draws(
    num_subjects: int, draws: int, seed: int, *, block: int = BLOCK
) -> Iterator[Floats]:
    """Blocks of (draws, subjects): how often each subject is drawn; the seed decides all.

    Args:
        block: so many numbers to a block, at most, unless one draw has more.
    """
    generator = np.random.default_rng(seed)
    size = max(1, block // num_subjects)
    for start in range(0, draws, size):
        times = np.empty((min(size, draws - start), num_subjects))
        for row in times:
            drawn = generator.integers(0, num_subjects, num_subjects)
            row[:] = np.bincount(drawn, minlength=num_subjects)
        yield times


def bootstrap(estimates: Sequence[Estimate], num_subjects: int, draws: int, seed: int) -> Floats:
    """Values of shape (draws, estimates); every estimate sees the same draws."""
    blocks = [
        np.column_stack([estimate(times) for estimate in estimates])
        for times in subject_draws(num_subjects, draws, seed)
    ]
    return np.concatenate(blocks)


def value_of(estimate: Estimate, num_subjects: int) -> float:
    """The metric itself: every subject once."""
    return float(estimate(np.ones((1, num_subjects)))[0])


def interval(
    values: Floats, level: float = LEVEL, *, mirror: float | None = None
) -> Interval | None:
    """The middle ``level`` of the draws; None where more than a tenth of them is undefined.

    ``mirror`` is for a metric that counts noise as error (ECE): there a draw is biased away from
    the value by about as much as the value is from the truth, so the percentiles are mirrored at
    the value (the basic interval; Davison and Hinkley 1997, section 5.2).
    """
    defined = values[~np.isnan(values)]
    if not len(values) or len(defined) < _DEFINED * len(values):
        return None
    tail = (1 - level) / 2
    low, high = (float(end) for end in np.quantile(defined, [tail, 1 - tail]))
    if mirror is None:
        return Interval(low, high)
    return Interval(min(mirror, 2 * mirror - high), max(mirror, 2 * mirror - low))
