"""Intervals from a paired bootstrap that draws whole subjects.

A subject's candidates are not independent of each other, so rows are never drawn alone: a draw
takes as many subjects as there are, with replacement, each with everything it has (the cluster
bootstrap; Field and Welsh 2007). Every ranker and metric sees the same draws, so a difference of
two rankers is taken within a draw. Draws are spread by what few subjects take off (`spread`),
those of shares and differences know that so few subjects do not show all there is
(`promptrank.evaluation.unseen`), and the ends of a value's interval follow its draws' skew
(`accelerated`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.measure import Estimate, Sums
from promptrank.evaluation.unseen import with_unseen

DRAWS = 1000
LEVEL = 0.95
BLOCK = 2_000_000  # numbers in a block of multiplicities: 16 MB
_DEFINED = 0.9  # least share of draws in which a metric must be defined
_ONE_SIDED = 0.6  # share of draws on one side of the value from which no bias is corrected
_MOST = 0.2  # acceleration: a skewness of 1.2 of a mean


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
    """Values of shape (draws, estimates), spread; every estimate sees the same draws.

    Sums of all estimates are one product of multiplicities with what subjects add, block by block,
    so that memory does not grow with the draws.
    """
    linear = [*{id(each): each for each in estimates if isinstance(each, Sums)}.values()]
    columns = np.column_stack([np.empty((num_subjects, 0)), *(each.columns for each in linear)])
    ends = np.cumsum([each.columns.shape[1] for each in linear])
    more = with_unseen(linear, draws, seed)
    blocks = []
    start = 0
    for times in subject_draws(num_subjects, draws, seed):
        summed = times @ columns
        if more is not None:
            summed += more[start : start + len(times)]
        start += len(times)
        parts = iter(np.split(summed, ends[:-1], axis=1))
        values = dict[int, Floats]()  # an estimate that two metrics share is drawn once
        for each in estimates:
            if id(each) not in values:
                values[id(each)] = (
                    each.finish(next(parts)) if isinstance(each, Sums) else each(times)
                )
        blocks.append(np.column_stack([values[id(each)] for each in estimates]))
    return spread(np.concatenate(blocks), num_subjects)


def spread(table: Floats, num_subjects: int) -> Floats:
    """Draws, moved away from their median as far as few subjects have kept them too near.

    A draw of n subjects varies as if divided by n, not n - 1, and percentiles are those of a normal
    distribution where Student's t would be due: 3% too narrow at 60 subjects, 0.2% at 1,000
    (Hesterberg 2015, doi:10.1080/00031305.2015.1089789, section 4.3). No draw leaves the range of
    the draws, so that shares stay shares.

    Args:
        table: (draws, values).
    """
    from scipy.special import ndtri, stdtrit

    tail = (1 + LEVEL) / 2
    freedom = num_subjects - 1
    factor = float(stdtrit(freedom, tail) / ndtri(tail) * np.sqrt(num_subjects / freedom))
    wide = np.full_like(table, np.nan)
    some = ~np.isnan(table).all(axis=0)
    given = table[:, some]
    middle = np.nanmedian(given, axis=0)
    low, high = np.nanmin(given, axis=0), np.nanmax(given, axis=0)
    wide[:, some] = np.clip(middle + factor * (given - middle), low, high)
    return wide


def value_of(estimate: Estimate, num_subjects: int) -> float:
    """The metric itself: every subject once."""
    return float(estimate(np.ones((1, num_subjects)))[0])


def interval(values: Floats, level: float = LEVEL) -> Interval | None:
    """The middle ``level`` of the draws; None where more than a tenth of them is undefined."""
    defined = values[~np.isnan(values)]
    if not len(values) or len(defined) < _DEFINED * len(values):
        return None
    tail = (1 - level) / 2
    low, high = (float(end) for end in np.quantile(defined, [tail, 1 - tail]))
    return Interval(low, high)


def interval_of(estimate: Estimate | None, value: float, draws: Floats) -> Interval | None:
    """The interval of a value; of a share the percentiles, whose draws have all that it takes."""
    if isinstance(estimate, Sums) and estimate.shares:
        return interval(draws)
    return accelerated(draws, value)


def accelerated(values: Floats, value: float, level: float = LEVEL) -> Interval | None:
    """The interval of a value from its draws, with ends that follow their skew.

    Percentiles of a skewed mean, such as an MRR near 1, shift too little: half of what is due, and
    to the wrong side of it. The bias-corrected and accelerated interval (Efron 1987, JASA 82:171)
    takes other percentiles: with z0 from the share of draws below the value, and acceleration a,
    here a sixth of the draws' skewness (DiCiccio and Efron 1996, doi:10.1214/ss/1032280214), the
    end of a normal quantile z is at the percentile of z0 + (z0 + z) / (1 - a (z0 + z)). Where more
    than 60 in 100 draws lie on one side, that is no bias of a smooth statistic but a value at its
    bound or among few others, and percentiles stand as they are.
    """
    from scipy.special import ndtr, ndtri

    plain = interval(values, level)
    defined = values[~np.isnan(values)]
    error = defined.std() if len(defined) else 0.0
    if plain is None or not error > 0:
        return plain
    below = ((defined < value).mean() + (defined <= value).mean()) / 2
    if not 1 - _ONE_SIDED <= below <= _ONE_SIDED:
        return plain
    bias = float(ndtri(below))
    bend = float(np.clip((((defined - defined.mean()) / error) ** 3).mean() / 6, -_MOST, _MOST))
    z = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = (float(end) for end in np.quantile(defined, ndtr(bias + z / (1 - bend * z))))
    return Interval(low, high)
