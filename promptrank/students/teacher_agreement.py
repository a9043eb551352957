"""How well a student repeats its teacher."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from promptrank.basics.arrays import Flags, Floats
from promptrank.evaluation.agreement import rank_correlation
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores
from promptrank.students.lessons import shares_of

_ONE_SIDED = 0.05


def teacher_agreement(task: Task, student: Scores, teacher: Scores) -> dict[str, Any]:
    """Per question, over candidates that both answered; empty where there are none.

    ``teacher_auc``: AUC of the student's P(relevant) for what the teacher itself `calls_relevant`,
    and ``teacher_cut`` where that was cut; None where the teacher says the same of all.
    ``teacher_rank``: Spearman's correlation of both P(relevant).
    ``teacher_kl``: mean KL(teacher || student) in nats.
    """
    shared = [key for key in student.keys if key in teacher.index]
    ours, theirs = student.rows(shared), teacher.rows(shared)
    measured = {}
    for name, question in task.questions.items():
        said = shares_of(task, teacher, name)[theirs]
        logs = np.log(np.maximum(shares_of(task, student, name)[ours], 1e-300))
        both = ~(np.isnan(said).any(1) | np.isnan(logs).any(1))
        if not both.any():
            continue
        relevant = np.array([a.value >= question.relevant_at for a in question.answers.values()])
        for what, value in _of(said[both], logs[both], relevant).items():
            measured[f"{name}.{what}"] = value
    return measured


def calls_relevant(chance: Floats) -> tuple[Flags, float]:
    """Which candidates the teacher calls relevant, and the P(relevant) above which it does.

    That is one half. A decoder that was never tuned may lean to one answer and still order
    candidates: where less than a twentieth lies on one side of one half, it is the median.
    """
    share = float((chance > 0.5).mean())
    cut = 0.5 if _ONE_SIDED <= share <= 1 - _ONE_SIDED else float(np.median(chance))
    return chance > cut, cut


def with_outcomes(
    requests: Iterable[Request], question: str, said: Mapping[tuple[str, str], str]
) -> Iterator[Request]:
    """Requests whose outcomes are what somebody else says, so that rankers are judged by that.

    Args:
        said: (request_id, candidate_id) -> answer; a candidate without one is unlabelled.
    """
    for request in requests:
        keys = [(request.request_id, c.candidate_id) for c in request.candidates]
        outcomes = [{question: said[key]} if key in said else {} for key in keys]
        pairs = zip(request.candidates, outcomes, strict=True)
        yield replace(request, candidates=tuple(replace(c, outcomes=o) for c, o in pairs))


def _of(teacher: Floats, logs: Floats, relevant: Flags) -> dict[str, float | int | None]:
    theirs, ours = teacher[:, relevant].sum(1), np.exp(logs)[:, relevant].sum(1)
    said, cut = calls_relevant(theirs)
    kl = (teacher * (np.log(np.maximum(teacher, 1e-12)) - logs)).sum(1).mean()
    return {
        "teacher_auc": auc(said, ours),
        "teacher_cut": cut,
        "teacher_rank": rank_correlation(theirs, ours),
        "teacher_kl": float(kl),
        "teacher_candidates": len(teacher),
    }


def auc(positive: Flags, score: Floats) -> float | None:
    """Mann-Whitney's U over the pairs, a tie counting one half; None where one class is empty."""
    from sklearn.metrics import roc_auc_score

    if positive.all() or not positive.any():
        return None
    return float(roc_auc_score(positive, score))
