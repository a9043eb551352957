"""Where the answers hold little of the model's probability, and it would rather say other things.

A score compares a question's answers with each other, however unlikely they all are. Where they
hold little together (``label_mass``), the model has not understood that it is asked, and what the
score says is noise of rare tokens.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.evaluation.drift import NAME
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.slices import Slicing
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.scores.scores import LEAST_MASS, Scores

FALL = 0.1
"""How far below the whole a part is named even though its answers hold more than `LEAST_MASS`."""
FEW = 20
"""A part of fewer candidates is not judged."""
_MOST = 3  # parts that one line names


def mass_alerts(
    task: Task, requests: Iterable[Request], scores: Scores, parted: Sequence[Slicing]
) -> list[str]:
    """A line for each question and slicing with parts where the answers hold little together.

    Args:
        scores: with answers; those without have no mass, and no alert.
        parted: slicings, and stretches of time.
    """
    masses = {name: scores.numbers(f"{name}_label_mass") for name in task.questions}
    masses = {name: mass for name, mass in masses.items() if not np.isnan(mass).all()}
    if not masses:
        return []
    codes = _codes(requests, scores, parted)
    alerts = []
    for question, mass in masses.items():
        whole = float(np.nanmean(mass))
        for slicing in parted:
            alerts += _alert(question, mass, whole, slicing, codes[slicing.name])
    return alerts


def _codes(
    requests: Iterable[Request], scores: Scores, parted: Sequence[Slicing]
) -> dict[str, Codes]:
    """By slicing the part of each row of the scores; -1 for rows of other requests."""
    codes = {slicing.name: np.full(len(scores), -1, dtype=np.int64) for slicing in parted}
    index = scores.index
    for request in requests if parted else ():
        for candidate in request.candidates:
            row = index.get((request.request_id, candidate.candidate_id))
            for slicing in parted if row is not None else ():
                codes[slicing.name][row] = slicing.code(request, candidate)
    return codes


def _alert(question: str, mass: Floats, whole: float, slicing: Slicing, codes: Codes) -> list[str]:
    low: list[tuple[float, str]] = []
    for place, label in enumerate(slicing.labels):
        inside = mass[(codes == place) & ~np.isnan(mass)]
        if len(inside) < FEW:
            continue
        mean = float(inside.mean())
        if whole - mean > FALL or mean < LEAST_MASS <= whole:
            low.append(
                (
                    mean,
                    f"{number(mean)} from {label} on"
                    if _is_time(slicing)
                    else f"{number(mean)} where it is {label}",
                )
            )
    if not low:
        return []
    by = "time" if _is_time(slicing) else slicing.name
    shown = "; ".join(text for _, text in sorted(low)[:_MOST])
    more = f"; and {len(low) - _MOST} more" if len(low) > _MOST else ""
    return [
        f"label mass falls by {by}: the answers to {question} hold {number(whole)} of the model's "
        f"probability on the whole, but {shown}{more}; look at prompts there"
    ]


def _is_time(slicing: Slicing) -> bool:
    return slicing.name == NAME
