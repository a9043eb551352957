"""Metrics as functions of how often each subject counts.

Every metric is reduced once to what its bootstrap needs: an estimate that takes multiplicities of
shape (draws, subjects) and returns (draws,) values. The metric itself is the draw in which every
subject counts once, so a value and its interval cannot disagree about the definition.
Definitions are in `promptrank.evaluation.metrics.MEANING`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.metrics import ECE_BINS, Metric

Estimate = Callable[[Floats], Floats]
"""(draws, subjects) multiplicities -> (draws,) values; NaN where a draw leaves it undefined."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that are compared.

    Attributes:
        request: dense codes, 0..num_requests-1.
        subject: dense codes, 0..num_subjects-1.
    """

    request: Codes
    subject: Codes
    gain: Floats
    relevant: Flags
    weight: Floats
    num_requests: int
    num_subjects: int

    def take(self, keep: Flags) -> "Rows":
        """Fewer rows; requests are numbered anew, subjects keep their codes."""
        requests, request = np.unique(self.request[keep], return_inverse=True)
        return Rows(
            request,
            self.subject[keep],
            self.gain[keep],
            self.relevant[keep],
            self.weight[keep],
            len(requests),
            self.num_subjects,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of one ranker before any draw.

    Attributes:
        estimate: None where the metric is undefined, and then ``reason`` says why.
        unit: what is averaged or left out: ``candidates``, ``subjects`` or ``requests``.
        used, left_out: how many of them.
    """

    estimate: Estimate | None
    unit: str
    used: int = 0
    left_out: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RankedRows:
    """Rows sorted by (request, score downwards), with their ties.

    Attributes:
        order: row numbers in that order; the other arrays follow it.
        request: code of the request.
        rank: 0-based position within the request, arbitrary within a tie.
        tie: code of the group of equal scores, ascending.
    """

    order: Codes
    request: Codes
    rank: Codes
    tie: Codes

    def tie_mean(self, values: Floats) -> Floats:
        """Each row's mean of ``values`` (in this order) over its tie."""
        sums = _sums(self.tie, values)
        means: Floats = (sums / np.bincount(self.tie))[self.tie]
        return means


def rank_rows(request: Codes, score: Floats) -> RankedRows:
    """Sort rows within their requests, best first."""
    order = np.lexsort((-score, request))
    sorted_request, sorted_score = request[order], score[order]
    starts = _starts(sorted_request)
    ties = starts | _starts(sorted_score)
    return RankedRows(
        order, sorted_request, _since(starts), (np.cumsum(ties) - 1).astype(np.int64, copy=False)
    )


def measure(metric: Metric, rows: Rows, score: Floats, ranked: RankedRows) -> Measured:
    """Reduce a metric of scores; ``score`` holds no NaN, ``ranked`` is its `rank_rows`."""
    if metric.base == "auc":
        return _auc(rows, score)
    if metric.base == "gauc":
        return _gauc(rows, score)
    if metric.base == "ndcg":
        return _ndcg(rows, ranked, metric.cutoff)
    value = _reciprocal_rank if metric.base == "mrr" else _recall
    relevant = rows.relevant[ranked.order].astype(np.float64)
    has_relevant = _sums(ranked.request, relevant, rows.num_requests) > 0
    values = value(ranked, relevant, rows.num_requests, metric.cutoff)
    return _per_request(rows, values, has_relevant, "no request has a relevant candidate")


def measure_probability(metric: Metric, rows: Rows, probability: Floats | None) -> Measured:
    """Reduce a metric of probabilities, which hold no NaN; None where none are offered."""
    if probability is None:
        return Measured(None, "candidates", reason="offers no probabilities")
    if not rows.weight.sum():
        return Measured(None, "candidates", reason="all weights are 0")
    return (_log_loss if metric.base == "log_loss" else _ece)(rows, probability)


def _auc(rows: Rows, score: Floats) -> Measured:
    total = len(score)
    if rows.relevant.all() or not rows.relevant.any():
        word = "relevant" if rows.relevant.any() else "not relevant"
        return Measured(None, "candidates", 0, total, f"all candidates are {word}")
    negatives, positives = np.flatnonzero(~rows.relevant), np.flatnonzero(rows.relevant)
    negatives = negatives[np.argsort(score[negatives], kind="stable")]
    positives = positives[np.argsort(score[positives], kind="stable")]
    below = np.searchsorted(score[negatives], score[positives], "left")
    up_to = np.searchsorted(score[negatives], score[positives], "right")
    neg_subject, pos_subject = rows.subject[negatives], rows.subject[positives]
    neg_weight, pos_weight = rows.weight[negatives], rows.weight[positives]

    def estimate(times: Floats) -> Floats:
        values = np.full(len(times), np.nan)
        mass = np.zeros(len(negatives) + 1)  # mass[i]: weight of the i lowest negatives
        for draw, each in enumerate(times):
            np.cumsum(each[neg_subject] * neg_weight, out=mass[1:])
            weight = each[pos_subject] * pos_weight
            pairs = weight.sum() * mass[-1]
            if pairs > 0:
                values[draw] = 0.5 * (weight @ (mass[below] + mass[up_to])) / pairs
        return values

    return Measured(estimate, "candidates", total)


def _gauc(rows: Rows, score: Floats) -> Measured:
    order = np.lexsort((score, rows.subject))
    subject, count = rows.subject[order], rows.num_subjects
    starts = _starts(subject)
    ties = starts | _starts(score[order])
    tie = np.cumsum(ties) - 1
    positive = np.where(rows.relevant[order], rows.weight[order], 0.0)
    negative = rows.weight[order] - positive
    before = np.cumsum(negative) - negative
    lower = (
        before[np.flatnonzero(ties)][tie] - before[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    )
    wins = positive * (lower + 0.5 * _sums(tie, negative)[tie])
    pairs = _sums(subject, positive, count) * _sums(subject, negative, count)
    both = pairs > 0
    value = _sums(subject, wins, count)[both] / pairs[both]
    weight = np.zeros(count)
    weight[both] = _sums(subject, rows.weight[order], count)[both]
    total = np.zeros(count)
    total[both] = value * weight[both]
    used, present = int(both.sum()), len(np.unique(subject))
    if not used:
        return Measured(None, "subjects", 0, present, "no subject has labels of both kinds")
    return Measured(_ratio(total, weight), "subjects", used, present - used)


def _ndcg(rows: Rows, ranked: RankedRows, cutoff: int | None) -> Measured:
    if rows.gain.min() < 0:
        return Measured(
            None, "requests", 0, rows.num_requests, "a label's value is below 0; use values >= 0"
        )
    discount = 1.0 / np.log2(ranked.rank + 2.0)
    if cutoff is not None:
        discount[ranked.rank >= cutoff] = 0.0
    count = rows.num_requests
    gained = _sums(ranked.request, ranked.tie_mean(rows.gain[ranked.order]) * discount, count)
    # Sorted by request, so that the ranks of the best order are the same array.
    best_order = np.lexsort((-rows.gain, rows.request))
    best_gain = rows.gain[best_order]
    best = _sums(ranked.request, best_gain * discount, count)
    first = np.flatnonzero(ranked.rank == 0)
    last = np.append(first[1:], len(best_gain)) - 1
    differ = best_gain[first] > best_gain[last]
    values = np.divide(gained, best, out=np.zeros(count), where=differ)
    return _per_request(rows, values, differ, "no request has labels of different value")


def _reciprocal_rank(
    ranked: RankedRows, relevant: Floats, num_requests: int, cutoff: int | None
) -> Floats:
    # Only the first tie that holds a relevant candidate matters. In a tie of n rows, m of them
    # relevant, the first relevant one is the j-th with chance C(n-j, m-1) / C(n, m).
    hits = np.flatnonzero(relevant)
    _, firsts = np.unique(ranked.request[hits], return_index=True)
    chosen = np.zeros(ranked.tie[-1] + 1, dtype=np.bool_)
    chosen[ranked.tie[hits[firsts]]] = True
    inside = chosen[ranked.tie]
    tie, rank = ranked.tie[inside], ranked.rank[inside]
    size = np.bincount(ranked.tie)[tie]
    among = _sums(ranked.tie, relevant)[tie].astype(np.int64)
    nth = 1 + _since(_starts(tie))
    possible = size - nth >= among - 1
    size, among, nth = size[possible], among[possible], nth[possible]
    tie, rank = tie[possible], rank[possible]
    logs = np.append(0.0, np.cumsum(np.log(np.arange(1, size.max(initial=0) + 1))))  # ln n!
    ways = logs[size - nth] - logs[among - 1] - logs[size - nth - among + 1]
    chance = np.exp(ways - (logs[size] - logs[among] - logs[size - among]))
    gained = chance / (rank + 1.0)
    if cutoff is not None:
        gained[rank >= cutoff] = 0.0
    request = ranked.request[inside][possible]
    return _sums(request, gained, num_requests)


def _recall(ranked: RankedRows, relevant: Floats, num_requests: int, cutoff: int | None) -> Floats:
    near = ranked.rank < (len(relevant) if cutoff is None else cutoff)
    hits = _sums(ranked.request, ranked.tie_mean(relevant) * near, num_requests)
    total = _sums(ranked.request, relevant, num_requests)
    return np.divide(hits, total, out=np.zeros(num_requests), where=total > 0)


def _per_request(rows: Rows, values: Floats, defined: Flags, reason: str) -> Measured:
    used = int(defined.sum())
    left_out = rows.num_requests - used
    if not used:
        return Measured(None, "requests", 0, left_out, reason)
    sizes = np.bincount(rows.request, minlength=rows.num_requests)
    weight = _sums(rows.request, rows.weight, rows.num_requests) / sizes
    owner = np.zeros(rows.num_requests, dtype=np.int64)
    owner[rows.request] = rows.subject
    total = _sums(owner[defined], (values * weight)[defined], rows.num_subjects)
    mass = _sums(owner[defined], weight[defined], rows.num_subjects)
    return Measured(_ratio(total, mass), "requests", used, left_out)


def _log_loss(rows: Rows, probability: Floats) -> Measured:
    edge = np.finfo(np.float64).eps
    kept = np.clip(probability, edge, 1 - edge)
    loss = -np.where(rows.relevant, np.log(kept), np.log1p(-kept))
    total = _sums(rows.subject, loss * rows.weight, rows.num_subjects)
    mass = _sums(rows.subject, rows.weight, rows.num_subjects)
    return Measured(_ratio(total, mass), "candidates", len(probability))


def _ece(rows: Rows, probability: Floats) -> Measured:
    # A bin is fixed by the rows at hand and does not move from draw to draw: then a draw needs
    # one (subjects, bins) matrix only. A group of equal probabilities goes where its middle lies.
    _, group = np.unique(probability, return_inverse=True)
    mass = _sums(group, rows.weight)
    middle = np.cumsum(mass) - mass / 2
    bins = np.minimum((ECE_BINS * middle / mass.sum()).astype(np.int64), ECE_BINS - 1)[group]
    gap = rows.weight * (probability - rows.relevant)
    cell = rows.subject * ECE_BINS + bins
    gaps = _sums(cell, gap, rows.num_subjects * ECE_BINS).reshape(-1, ECE_BINS)
    weight = _sums(rows.subject, rows.weight, rows.num_subjects)

    def estimate(times: Floats) -> Floats:
        return _divide(np.abs(times @ gaps).sum(axis=1), times @ weight)

    return Measured(estimate, "candidates", len(probability))


def _sums(codes: Codes, values: Floats, count: int = 0) -> Floats:
    """Sum of ``values`` per code, for at least ``count`` codes."""
    return np.bincount(codes, values, count).astype(np.float64, copy=False)


def _ratio(total: Floats, weight: Floats) -> Estimate:
    parts = np.column_stack([total, weight])

    def estimate(times: Floats) -> Floats:
        sums = times @ parts
        return _divide(sums[:, 0], sums[:, 1])

    return estimate


def _divide(total: Floats, weight: Floats) -> Floats:
    values: Floats = np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)
    return values


def _starts(values: Floats | Codes) -> Flags:
    """Where a run of equal values begins."""
    first = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def _since(starts: Flags) -> Codes:
    """Each row's distance from the last start."""
    index = np.arange(len(starts))
    distance: Codes = index - np.maximum.accumulate(np.where(starts, index, 0))
    return distance
