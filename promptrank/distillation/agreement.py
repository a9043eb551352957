"""How well a student repeats its teacher."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from promptrank.distillation.lessons import Taught
from promptrank.distillation.losses import Floats
from promptrank.engine.base import SlotScore
from promptrank.records import Request
from promptrank.schema.task import Task

Answers = Callable[[Request], Sequence[tuple[SlotScore, ...]]]


def agreement(
    task: Task, answers: Answers, requests: Iterable[Request], taught: Taught
) -> dict[str, Any]:
    """Per question, over candidates that the teacher answered; empty where there are none.

    ``teacher_auc``: AUC of the student's P(relevant) for the teacher's own verdict, which is
    relevant where it gives relevant answers more than half; None where it always says the same.
    ``teacher_kl``: mean KL(teacher || student) in nats.
    """
    theirs: dict[str, list[Floats]] = {name: [] for name in task.questions}
    ours: dict[str, list[Sequence[float]]] = {name: [] for name in task.questions}
    for request in requests:
        given = answers(request)
        for candidate, slots in zip(request.candidates, given, strict=True):
            found = taught.get((request.request_id, candidate.candidate_id))
            if found is None:
                continue
            for name, teacher, slot in zip(task.questions, found, slots, strict=True):
                theirs[name].append(teacher)
                ours[name].append(slot.logprobs)
    return {
        f"{name}.{what}": value
        for name, question in task.questions.items()
        if theirs[name]
        for what, value in _of(
            np.array(theirs[name]),
            np.array(ours[name]),
            np.array([a.value >= question.relevant_at for a in question.answers.values()]),
        ).items()
    }


def _of(teacher: Floats, logs: Floats, relevant: Any) -> dict[str, float | int | None]:
    verdict = teacher[:, relevant].sum(1) > 0.5
    chance = np.exp(logs)[:, relevant].sum(1)
    kl = (teacher * (np.log(np.maximum(teacher, 1e-12)) - logs)).sum(1).mean()
    return {
        "teacher_auc": auc(verdict, chance),
        "teacher_kl": float(kl),
        "teacher_candidates": len(teacher),
    }


def auc(positive: Any, score: Floats) -> float | None:
    """Mann-Whitney's U over the pairs, ties one half; None where all are of one class."""
    from scipy.stats import rankdata

    yes, no = int(positive.sum()), int((~positive).sum())
    if not yes or not no:
        return None
    ranks = rankdata(score)
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))
