"""Metrics of one list: a value for each request, averaged with the request's mean weight.

``ranked`` is sorted by request and score; a tie is a group of n rows, r of them relevant, of which
every order is as likely. Sums over such orders have closed forms; each says which.
"""

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.measures.measurable import (
    Measured,
    RankedRows,
    Rows,
    ratio,
    since,
    starts,
    sums,
)

_NO_RELEVANT = "no request has a relevant candidate"


def ndcg(rows: Rows, score: Floats, ranked: RankedRows, cutoff: int | None) -> Measured:
    """Normalised discounted cumulative gain; a tied row gains its tie's mean."""
    if rows.gain.min() < 0:
        return Measured(
            None, "requests", 0, rows.num_requests, "a label's value is below 0; use values >= 0"
        )
    discount = 1.0 / np.log2(ranked.rank + 2.0)
    if cutoff is not None:
        discount[ranked.rank >= cutoff] = 0.0
    count = rows.num_requests
    gained = sums(ranked.request, ranked.tie_mean(rows.gain[ranked.order]) * discount, count)
    # Sorted by request, so that the ranks of the best order are the same array.
    best_gain = rows.gain[np.lexsort((-rows.gain, rows.request))]
    best = sums(ranked.request, best_gain * discount, count)
    first = np.flatnonzero(ranked.rank == 0)
    last = np.append(first[1:], len(best_gain)) - 1
    differ = best_gain[first] > best_gain[last]
    values = np.divide(gained, best, out=np.zeros(count), where=differ)
    return _mean(rows, values, differ, "no request has labels of different value")


def mrr(rows: Rows, score: Floats, ranked: RankedRows, cutoff: int | None) -> Measured:
    """Reciprocal rank of the first relevant candidate.

    Only the first tie that holds a relevant candidate matters. There the first relevant one is the
    j-th with chance C(n-j, r-1) / C(n, r).
    """
    relevant = _relevant(rows, ranked)
    hits = np.flatnonzero(relevant)
    _, firsts = np.unique(ranked.request[hits], return_index=True)
    chosen = np.zeros(ranked.tie[-1] + 1, dtype=np.bool_)
    chosen[ranked.tie[hits[firsts]]] = True
    inside = chosen[ranked.tie]
    if cutoff is not None:
        inside &= ranked.rank < cutoff
    tie, rank = ranked.tie[inside], ranked.rank[inside]
    size = np.bincount(ranked.tie)[tie]
    among = sums(ranked.tie, relevant)[tie].astype(np.int64)
    nth = 1 + since(starts(tie))
    possible = size - nth >= among - 1
    size, among, nth = size[possible], among[possible], nth[possible]
    ways = _ways(size - nth, among - 1) - _ways(size, among)
    gained = np.exp(ways) / (rank[possible] + 1.0)
    values = sums(ranked.request[inside][possible], gained, rows.num_requests)
    return _mean(rows, values, _has_relevant(rows), _NO_RELEVANT)


def average_precision(
    rows: Rows, score: Floats, ranked: RankedRows, cutoff: int | None
) -> Measured:
    """Mean over relevant candidates of the precision at their rank.

    The j-th row of a tie is relevant with chance r / n, and then, of the j - 1 before it,
    (j - 1) (r - 1) / (n - 1) are relevant on average; h relevant rows stand above the tie, s rows
    in all. So it gains r / n * (h + 1 + (j - 1) (r - 1) / (n - 1)) / (s + j).
    """
    relevant = _relevant(rows, ranked)
    size = np.bincount(ranked.tie)[ranked.tie]
    among = sums(ranked.tie, relevant)[ranked.tie]
    first = np.flatnonzero(starts(ranked.tie))
    ahead = (np.cumsum(relevant) - relevant)[first]  # relevant rows of all requests before a tie
    request_first = np.flatnonzero(ranked.rank == 0)
    of_request = ahead[ranked.tie[request_first]][ranked.request]
    above = ahead[ranked.tie] - of_request
    nth = since(starts(ranked.tie))  # j - 1
    within = nth * (among - 1) / np.maximum(size - 1, 1)
    gained = among / size * (above + 1 + within) / (ranked.rank + 1.0)
    if cutoff is not None:
        gained[ranked.rank >= cutoff] = 0.0
    count = rows.num_requests
    total = sums(ranked.request, relevant, count)
    values = np.divide(
        sums(ranked.request, gained, count), total, out=np.zeros(count), where=total > 0
    )
    return _mean(rows, values, total > 0, _NO_RELEVANT)


def recall(rows: Rows, score: Floats, ranked: RankedRows, cutoff: int | None) -> Measured:
    """Share of the relevant candidates in the first k."""
    total = sums(ranked.request, _relevant(rows, ranked), rows.num_requests)
    near = _near(rows, ranked, cutoff)
    values = np.divide(near, total, out=np.zeros(len(total)), where=total > 0)
    return _mean(rows, values, total > 0, _NO_RELEVANT)


def precision(rows: Rows, score: Floats, ranked: RankedRows, cutoff: int | None) -> Measured:
    """Relevant candidates in the first k, over k."""
    values = _near(rows, ranked, cutoff) / (cutoff or 1)
    return _mean(rows, values, np.ones(rows.num_requests, dtype=np.bool_), "no requests")


def hit(rows: Rows, score: Floats, ranked: RankedRows, cutoff: int | None) -> Measured:
    """Chance of a relevant candidate in the first k.

    A tie of which t rows stand in the first k has none there with chance C(n-r, t) / C(n, t).
    """
    relevant = _relevant(rows, ranked)
    first = np.flatnonzero(starts(ranked.tie))
    size = np.bincount(ranked.tie)
    among = sums(ranked.tie, relevant).astype(np.int64)
    near = np.clip((cutoff or 1) - ranked.rank[first], 0, size)  # rows of each tie in the first k
    sure = size - among < near
    missed = np.where(sure, -np.inf, 0.0)  # ln of the chance that none is there
    some = ~sure & (among > 0) & (near > 0)
    n, r, t = size[some], among[some], near[some]
    missed[some] = _ways(n - r, t) - _ways(n, t)
    log_miss = np.zeros(rows.num_requests)
    np.add.at(log_miss, ranked.request[first], missed)
    return _mean(rows, -np.expm1(log_miss), _has_relevant(rows), _NO_RELEVANT)


def _near(rows: Rows, ranked: RankedRows, cutoff: int | None) -> Floats:
    """Relevant candidates in the first k of each request; a tied row counts its tie's mean."""
    near = ranked.rank < (cutoff or 1)
    return sums(ranked.request, ranked.tie_mean(_relevant(rows, ranked)) * near, rows.num_requests)


def _relevant(rows: Rows, ranked: RankedRows) -> Floats:
    relevant: Floats = rows.relevant[ranked.order].astype(np.float64)
    return relevant


def _has_relevant(rows: Rows) -> Flags:
    some = np.zeros(rows.num_requests, dtype=np.bool_)
    some[rows.request[rows.relevant]] = True
    return some


def _ways(n: Codes, k: Codes) -> Floats:
    """ln C(n, k), exact to rounding; 0 <= k <= n."""
    logs = np.append(0.0, np.cumsum(np.log(np.arange(1, n.max(initial=0) + 1))))  # ln n!
    ways: Floats = logs[n] - logs[k] - logs[n - k]
    return ways


def _mean(rows: Rows, values: Floats, defined: Flags, reason: str) -> Measured:
    used = int(defined.sum())
    left_out = rows.num_requests - used
    if not used:
        return Measured(None, "requests", 0, left_out, reason)
    total, mass = per_subject(rows, values, defined)
    return Measured(ratio(total, mass, values[defined]), "requests", used, left_out)


def per_subject(rows: Rows, values: Floats, defined: Flags) -> tuple[Floats, Floats]:
    """Each subject's weighted sum of its requests' defined values, and the sum of their weights."""
    sizes = np.bincount(rows.request, minlength=rows.num_requests)
    weight = sums(rows.request, rows.weight, rows.num_requests) / sizes
    owner = np.zeros(rows.num_requests, dtype=np.int64)
    owner[rows.request] = rows.subject
    total = sums(owner[defined], (values * weight)[defined], rows.num_subjects)
    return total, sums(owner[defined], weight[defined], rows.num_subjects)
