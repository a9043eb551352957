"""How alike two orders of the same candidates are: the first candidate, and all pairs.

A tie is broken at random, on both sides for itself: the values are expectations over that.
"""

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.measures.lists import per_subject
from promptrank.evaluation.measures.measurable import Measured, RankedRows, Rows, ratio, sums

_BLOCK = 2_000_000  # pairs at a time
_MANY = 200  # candidates from which sorting counts pairs faster than comparing them all


def top1(rows: Rows, one: RankedRows, other: RankedRows, usable: Flags) -> Measured:
    """Chance that both put the same candidate first, mean over requests.

    Of a candidates that tie for the first place on one side and b on the other, c are the same:
    c / (a b).

    Args:
        usable: requests that count; those of one candidate never do.
    """
    first, second = _first(one), _first(other)
    count = rows.num_requests
    both = sums(rows.request, (first & second).astype(np.float64), count)
    ways = sums(rows.request, first.astype(np.float64), count) * sums(
        rows.request, second.astype(np.float64), count
    )
    return _mean(rows, both / ways, usable, share=True)


def kendall_tau(rows: Rows, one: RankedRows, other: RankedRows, usable: Flags) -> Measured:
    """Pairs in the same order less those in the opposite one, over all pairs; mean over requests.

    A pair that is tied on either side is as often the one as the other and counts 0 (Kendall's
    tau-a, 1938; scipy's kendalltau where there are no ties).
    """
    order = one.order  # by request
    codes = np.empty((2, len(order)), np.int32)
    codes[0, one.order], codes[1, other.order] = one.tie, other.tie
    codes = codes[:, order]
    start = np.flatnonzero(one.rank == 0)
    size = np.diff(np.append(start, len(order)))
    values = np.zeros(rows.num_requests)
    for n in np.unique(size[size > 1]):
        chosen = np.flatnonzero(size == n)
        places = start[chosen][:, None] + np.arange(n)
        if n > _MANY:
            values[chosen] = [_tau_a(codes[0, at], codes[1, at]) for at in places]
            continue
        for some in np.array_split(np.arange(len(chosen)), -(-len(chosen) * n * n // _BLOCK)):
            apart = codes[0, places[some]], codes[1, places[some]]
            values[chosen[some]] = _concordance(*apart) / (n * (n - 1) / 2)
    return _mean(rows, values, usable)


def _concordance(one: Codes, other: Codes) -> Floats:
    """(requests, candidates) codes, twice -> pairs in the same order less the others."""
    total = np.zeros(len(one))
    n = one.shape[1]
    step = max(1, _BLOCK // max(1, len(one) * n))
    for i in range(0, n, step):
        signs = np.sign(one[:, i : i + step, None] - one[:, None, :])
        signs *= np.sign(other[:, i : i + step, None] - other[:, None, :])
        total += signs.sum(axis=(1, 2))
    return total / 2  # every pair was met twice


def _tau_a(one: Codes, other: Codes) -> float:
    """Tau-a of two orders from scipy's tau-b, which counts pairs by sorting.

    Both have the same numerator; tau-b divides by sqrt((n0 - n1) (n0 - n2)), where n1 and n2 pairs
    are tied on a side, and tau-a by all n0 pairs.
    """
    from scipy.stats import kendalltau

    pairs = len(one) * (len(one) - 1) / 2
    untied = [
        pairs - float((ties * (ties - 1) / 2).sum())
        for ties in (np.unique(codes, return_counts=True)[1] for codes in (one, other))
    ]
    if not all(untied):
        return 0.0
    return float(kendalltau(one, other).statistic) * float(np.sqrt(untied[0] * untied[1])) / pairs


def _first(ranked: RankedRows) -> Flags:
    """Which rows tie for the first place of their request, in the order of the data."""
    leading = ranked.tie[np.flatnonzero(ranked.rank == 0)]  # by request
    first = np.empty(len(ranked.order), dtype=np.bool_)
    first[ranked.order] = ranked.tie == leading[ranked.request]
    return first


def _mean(rows: Rows, values: Floats, usable: Flags, *, share: bool = False) -> Measured:
    several = usable & (np.bincount(rows.request, minlength=rows.num_requests) > 1)
    used = int(several.sum())
    left_out = rows.num_requests - used
    if not used:
        return Measured(None, "requests", 0, left_out, "no request has two candidates in both")
    averaged = values[several] if share else None
    made = ratio(*per_subject(rows, values, several), averaged)
    return Measured(made, "requests", used, left_out)
