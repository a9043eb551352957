"""How far two rankers agree on the same candidates, by numbers that are stated as pass or fail."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from promptrank.basics.arrays import Floats

if TYPE_CHECKING:  # they load Arrow, and a report is only read in many places
    from promptrank.schema.task import Task
    from promptrank.scores.scores import Scores

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


def agreement(task: "Task", reference: "Scores", other: "Scores", tolerance: float) -> Agreement:
    """Compare two engines' scores of the same requests."""
    shared = [key for key in reference.keys if key in other.index]
    missing = len(reference) + len(other) - 2 * len(shared)
    ours, theirs = reference.rows(shared), other.rows(shared)
    difference = 0.0
    for name in task.questions:
        moved = reference.logprobs(task, name)[ours] - other.logprobs(task, name)[theirs]
        if len(moved):
            difference = max(difference, float(np.ptp(moved, axis=1).max()))
    a, b = reference.at("score", ours), other.at("score", theirs)
    correlations, tops = [], []
    for rows in _by_request(shared):
        mine, yours = a[rows], b[rows]
        tops.append(float(mine[yours.argmax()]) >= float(mine.max()) - tolerance)
        if (correlation := rank_correlation(mine, yours)) is not None:
            correlations.append(correlation)
    mean = sum(correlations) / len(correlations) if correlations else None
    top = sum(tops) / len(tops) if tops else 0.0
    passed = (
        len(shared) > 0
        and not missing
        and difference <= tolerance
        and (mean is None or mean >= LEAST_CORRELATION)
        and top >= LEAST_TOP
    )
    return Agreement(len(shared), missing, difference, tolerance, mean, top, passed)


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Spearman's, with ties at their mean rank; None where either side never changes."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(spearmanr(first, second).statistic)


def _by_request(keys: list[tuple[str, str]]) -> list[list[int]]:
    """The rows of each request."""
    rows: dict[str, list[int]] = {}
    for row, (request, _) in enumerate(keys):
        rows.setdefault(request, []).append(row)
    return list(rows.values())
