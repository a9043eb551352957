"""Calibration in bins of equal mass: the reliability curve, and ECE without what noise adds.

A bin's gap is its mean of P(relevant) minus outcome, known with noise, and the mean of its absolute
value is larger than the absolute value of its mean. So the observed ECE is too large, most of all
for a ranker that is calibrated (there it is noise alone); the bootstrap adds the same noise once
more to a draw, and cannot take it off: intervals around the observed ECE lie above the truth.

Here the noise of all gaps together is estimated from the differences between subjects, and the
truth is sought among ``scale * observed gaps``: for each scale, how often would an ECE as large as
the observed one be seen? The value is the ECE of the scale at which that happens half of the time,
and an end of an interval that at which it happens in 2.5 or 97.5 of 100 cases: a test turned into
an interval (Casella and Berger 2002, section 9.2). An observed ECE below what noise alone gives
makes a value below 0, by going on as it does near 0: a report shows 0, and a difference of two
rankers takes it as it is, or it would be pulled to the side of the better one.
"""

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.evaluation.measures.measurable import Measured, Rows, Sums, divide, ratio, sums
from promptrank.schema.metric_kinds import ECE_BINS

_CASES = 2000  # of noise, the same in every call
_SCALES = 101  # from 0 to the largest
_SPREAD = 6.0  # standard deviations above the observed ECE at which the scales end


def bins_of(probability: Floats, weight: Floats) -> Codes:
    """Each row's bin, 0 to 9: bins of equal mass, and equal probabilities in one.

    A bin is fixed by the rows at hand and does not move from draw to draw: then a draw needs one
    (subjects, bins) matrix only. A group of equal probabilities goes where its middle lies.
    """
    _, group = np.unique(probability, return_inverse=True)
    mass = sums(group, weight)
    middle = np.cumsum(mass) - mass / 2
    bins: Codes = np.minimum((ECE_BINS * middle / mass.sum()).astype(np.int64), ECE_BINS - 1)[group]
    return bins


def ece(rows: Rows, probability: Floats) -> Measured:
    """Expected calibration error without what noise adds."""
    bins = bins_of(probability, rows.weight)
    gap = rows.weight * (probability - rows.relevant)
    gaps = _by_subject(rows, bins, gap)
    weight = sums(rows.subject, rows.weight, rows.num_subjects)
    mass = weight.sum()
    gap_of = gaps.sum(axis=0) / mass
    observed = float(np.abs(gap_of).sum())
    count = len(probability)

    def plain(both: Floats) -> Floats:
        return divide(np.abs(both[:, :-1]).sum(axis=1), both[:, -1])

    columns = np.column_stack([gaps, weight])
    subjects = int((weight > 0).sum())
    if subjects < 2 or not observed:  # nothing says how large the noise is, or there is no gap
        return Measured(Sums(columns, plain), "candidates", count)
    apart = (gaps - weight[:, None] * gap_of) / mass * np.sqrt(subjects / (subjects - 1))
    noise = _normals(gaps.shape[1]) @ _root(apart.T @ apart)
    again = np.sort(np.abs(gap_of + noise).sum(axis=1))  # ECE as draws give it
    top = 1 + _SPREAD * float(again.std()) / observed
    squares = np.linspace(0, 1, _SCALES) ** 2 * top**2  # of scales: near 0 the ECE goes by these
    shares = [(np.abs(s * gap_of + noise).sum(axis=1) >= observed).mean() for s in squares**0.5]
    reached = _odds_scale(np.maximum.accumulate(np.array(shares)))
    rising = int(np.searchsorted(reached, reached[0] + 0.5).clip(1, _SCALES - 1))
    slope = max((reached[rising] - reached[0]) / squares[rising], 1e-9)
    places = np.linspace(0, 1, len(again))

    def at(percentile: Floats) -> Floats:
        z = _odds_scale(percentile)
        square = np.interp(z, reached, squares) + np.minimum(z - reached[0], 0.0) / slope
        # Noise that exceeds the observed at every scale has no slope: no further down than up.
        square = np.maximum(square, -squares[-1])
        signed: Floats = observed * np.sign(square) * np.sqrt(np.abs(square))
        return signed

    def finish(both: Floats) -> Floats:
        # A draw at the p-th percentile of draws stands for the scale of percentile p.
        observed_again = plain(both)
        values = at(np.interp(observed_again, again, places))
        values[np.isnan(observed_again)] = np.nan
        return values

    value = float(at(np.array([0.5]))[0])
    return Measured(Sums(columns, finish), "candidates", count, value=value)


def _odds_scale(share: Floats) -> Floats:
    """The normal quantile of a share, without infinities."""
    from scipy.special import ndtri

    quantile: Floats = ndtri(np.clip(share, 1 / _CASES, 1 - 1 / _CASES))
    return quantile


def reliability(rows: Rows, probability: Floats) -> list[tuple[float, int, Sums]]:
    """For each bin that has mass: mean P(relevant), rows, and the share that is relevant."""
    bins = bins_of(probability, rows.weight)
    mass = _by_subject(rows, bins, rows.weight)
    hits = _by_subject(rows, bins, rows.weight * rows.relevant)
    said = sums(bins, rows.weight * probability, ECE_BINS)
    counts = np.bincount(bins, minlength=ECE_BINS)
    whole = mass.sum(axis=0)
    return [
        (float(said[b] / whole[b]), int(counts[b]), ratio(hits[:, b], mass[:, b]))
        for b in range(ECE_BINS)
        if whole[b] > 0
    ]


def _by_subject(rows: Rows, bins: Codes, values: Floats) -> Floats:
    """(subjects, bins) sums."""
    cells = sums(rows.subject * ECE_BINS + bins, values, rows.num_subjects * ECE_BINS)
    return cells.reshape(-1, ECE_BINS)


def _normals(size: int) -> Floats:
    """(cases, size) standard normal numbers, always the same, each with its opposite."""
    half = np.random.default_rng(0).standard_normal((_CASES // 2, size))
    return np.concatenate([half, -half])


def _root(covariance: Floats) -> Floats:
    """The symmetric root of a covariance, which moves as little as the covariance does."""
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
