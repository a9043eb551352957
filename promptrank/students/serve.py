"""A student in the place of an engine: its answers as slot scores."""

from collections.abc import Callable, Sequence

import numpy as np

from promptrank.engine.contract import SlotScore
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.students.student import Student


def slot_scores(
    task: Task, student: Student
) -> Callable[[Request], Sequence[tuple[SlotScore, ...]]]:
    """Per candidate one score per question; a student always answers, so its label mass is 1."""

    def answers(request: Request) -> Sequence[tuple[SlotScore, ...]]:
        found = student.answers(request)
        by_question = []
        for name in task.questions:
            best = np.argmax(found[name], axis=1).tolist()
            by_question.append(
                [
                    SlotScore(tuple(logs), 1.0, index)
                    for logs, index in zip(found[name].tolist(), best, strict=True)
                ]
            )
        return list(zip(*by_question, strict=True))

    return answers
