"""How far two engines agree on the same requests, by numbers that are stated as pass or fail."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from promptrank.basics.arrays import Floats
from promptrank.ranking.loop import Scored

Scores = Mapping[str, Mapping[str, Scored]]
"""Request -> candidate -> its score."""

LEAST_CORRELATION = 0.99
LEAST_TOP = 0.99


@dataclass(frozen=True, slots=True)
class Agreement:
    """One engine against the reference.

    Attributes:
        candidates: scored by both.
        missing: candidates that only one of the two could score.
        difference: largest difference between the log-odds of any two answers, in nats.
        tolerance: what ``difference`` may be.
        rank_correlation: Spearman's, the mean over requests whose scores differ at all; None
            where there is no such request.
        top: share of requests whose best candidate is the reference's best, or is no further than
            the tolerance from it by the reference's own score.
        passed: nothing is missing and all three are within bounds.
    """

    candidates: int
    missing: int
    difference: float
    tolerance: float
    rank_correlation: float | None
    top: float
    passed: bool


def agreement(reference: Scores, other: Scores, tolerance: float) -> Agreement:
    """Compare two engines' scores of the same requests."""
    difference, candidates, missing = 0.0, 0, 0
    correlations, tops = [], []
    for request in {**reference, **other}:
        one, two = reference.get(request, {}), other.get(request, {})
        both = [name for name in one if name in two]
        candidates += len(both)
        missing += len(one) + len(two) - 2 * len(both)
        if not both:
            continue
        difference = max(difference, *(_apart(one[name], two[name]) for name in both))
        a = np.array([one[name].score for name in both])
        b = np.array([two[name].score for name in both])
        tops.append(float(a[b.argmax()]) >= float(a.max()) - tolerance)
        if (found := rank_correlation(a, b)) is not None:
            correlations.append(found)
    correlation = sum(correlations) / len(correlations) if correlations else None
    top = sum(tops) / len(tops) if tops else 0.0
    passed = (
        candidates > 0
        and not missing
        and difference <= tolerance
        and (correlation is None or correlation >= LEAST_CORRELATION)
        and top >= LEAST_TOP
    )
    return Agreement(candidates, missing, difference, tolerance, correlation, top, passed)


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's, ties at their mean rank; None where one never changes."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)


def _apart(one: Scored, two: Scored) -> float:
    """The largest difference of log-odds, over all pairs of answers to a question."""
    found = 0.0
    for name, answered in one.questions.items():
        other = two.questions[name].logprobs
        moved = [logprob - other[answer] for answer, logprob in answered.logprobs.items()]
        found = max(found, max(moved) - min(moved))
    return found
