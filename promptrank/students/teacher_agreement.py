"""How well a student repeats its teacher."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import isnan
from typing import Any

import numpy as np

from promptrank.basics.arrays import Flags, Floats
from promptrank.engine.contract import SlotScore
from promptrank.evaluation.agreement import rank_correlation
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.students.lessons import Taught

Answers = Callable[[Request], Sequence[tuple[SlotScore, ...]]]

_ONE_SIDED = 0.05


def agreement(
    task: Task, answers: Answers, requests: Iterable[Request], taught: Taught
) -> dict[str, Any]:
    """Per question, over candidates that both answered; empty where there are none.

    ``teacher_auc``: AUC of the student's P(relevant) for the teacher's own `verdicts`, and
    ``teacher_cut`` where those were cut; None where the teacher says the same of all.
    ``teacher_rank``: Spearman's correlation of both P(relevant).
    ``teacher_kl``: mean KL(teacher || student) in nats.
    """
    theirs: dict[str, list[Floats]] = {name: [] for name in task.questions}
    ours: dict[str, list[Sequence[float]]] = {name: [] for name in task.questions}
    for request in requests:
        given = answers(request)
        for candidate, slots in zip(request.candidates, given, strict=True):
            found = taught.get((request.request_id, candidate.candidate_id))
            if found is None or any(map(isnan, chain(*(slot.logprobs for slot in slots)))):
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


def verdicts(chance: Floats) -> tuple[Flags, float]:
    """Which candidates the teacher calls relevant, and above which P(relevant) it is said to.

    Above one half. A decoder that was never tuned may lean to one answer and still order
    candidates: where less than a twentieth lies on one side of one half, above the median.
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
        found = [{question: said[key]} if key in said else {} for key in keys]
        pairs = zip(request.candidates, found, strict=True)
        yield replace(request, candidates=tuple(replace(c, outcomes=o) for c, o in pairs))


def _of(teacher: Floats, logs: Floats, relevant: Flags) -> dict[str, float | int | None]:
    theirs, ours = teacher[:, relevant].sum(1), np.exp(logs)[:, relevant].sum(1)
    said, cut = verdicts(theirs)
    kl = (teacher * (np.log(np.maximum(teacher, 1e-12)) - logs)).sum(1).mean()
    return {
        "teacher_auc": auc(said, ours),
        "teacher_cut": cut,
        "teacher_rank": rank_correlation(theirs, ours),
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
