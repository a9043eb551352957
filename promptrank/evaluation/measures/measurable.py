"""What metrics are computed from, and what they are reduced to."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats

Estimate = Callable[[Floats], Floats]
"""(draws, subjects) multiplicities -> (draws,) values; NaN where a draw leaves it undefined."""


@dataclass(frozen=True, slots=True)
class Sums:
    """An `Estimate` from sums over subjects, so that one product serves the sums of many.

    Attributes:
        columns: (subjects, sums): what each subject adds to each sum.
        finish: (draws, sums) -> (draws,) values.
        mean: whether they are a total and a weight of which it is the ratio.
        shares: whether it is such a mean, and whatever is averaged was 0 or 1.
    """

    columns: Floats
    finish: Callable[[Floats], Floats]
    mean: bool = False
    shares: bool = False

    def __call__(self, times: Floats) -> Floats:
        return self.finish(times @ self.columns)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that are compared.

    Attributes:
        request: dense codes, 0..num_requests-1.
        subject: dense codes, 0..num_subjects-1.
        domain: codes; None where all rows are of one.
    """

    request: Codes
    subject: Codes
    gain: Floats
    relevant: Flags
    weight: Floats
    num_requests: int
    num_subjects: int
    domain: Codes | None = None

    def take(self, keep: Flags) -> "Rows":
        """Fewer rows; requests are numbered anew, subjects and domains keep their codes."""
        requests, request = np.unique(self.request[keep], return_inverse=True)
        return Rows(
            request,
            self.subject[keep],
            self.gain[keep],
            self.relevant[keep],
            self.weight[keep],
            len(requests),
            self.num_subjects,
            None if self.domain is None else self.domain[keep],
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric of one ranker before any draw.

    Attributes:
        estimate: None where the metric is undefined.
        reason: why it is undefined, or why no draw of it is defined.
        unit: what is averaged or left out: ``candidates``, ``subjects``, ``domains``, ``requests``.
        used, left_out: how many of them.
        value: the metric itself, where it is not the draw in which every subject counts once.
    """

    estimate: Estimate | None
    unit: str
    used: int = 0
    left_out: int = 0
    reason: str | None = None
    value: float | None = None


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
        means: Floats = (sums(self.tie, values) / np.bincount(self.tie))[self.tie]
        return means


def rank_rows(request: Codes, score: Floats) -> RankedRows:
    """Sort rows within their requests, best first."""
    order = np.lexsort((-score, request))
    sorted_request, sorted_score = request[order], score[order]
    first = starts(sorted_request)
    ties = first | starts(sorted_score)
    return RankedRows(
        order, sorted_request, since(first), (np.cumsum(ties) - 1).astype(np.int64, copy=False)
    )


def sums(codes: Codes, values: Floats, count: int = 0) -> Floats:
    """Sum of ``values`` per code, for at least ``count`` codes."""
    return np.bincount(codes, values, count).astype(np.float64, copy=False)


def ratio(total: Floats, weight: Floats, averaged: Floats | None = None) -> Sums:
    """Sum of ``total`` over sum of ``weight``, both (subjects,).

    Args:
        averaged: what it is a mean of, between 0 and 1: where all of it is 0 or 1, it is a share.
    """
    shares = averaged is not None and bool(((averaged == 0) | (averaged == 1)).all())
    both = np.column_stack([total, weight])
    return Sums(both, lambda sums: divide(sums[:, 0], sums[:, 1]), True, shares)


def divide(total: Floats, weight: Floats) -> Floats:
    """``total / weight``; NaN where the weight is not above 0."""
    values: Floats = np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
    return values


def starts(values: Floats | Codes) -> Flags:
    """Where a run of equal values begins."""
    first = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


def since(starting: Flags) -> Codes:
    """Each row's distance from the last start."""
    index = np.arange(len(starting))
    distance: Codes = index - np.maximum.accumulate(np.where(starting, index, 0))
    return distance
