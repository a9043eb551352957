"""A student behind the same contract as a decoder: it answers requests in place of token trees."""

from collections.abc import Sequence

import numpy as np

from promptrank.engine.contract import EngineInfo, SlotScore, Steps, TreeScore, Window
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.students.student import Student


class StudentEngine:
    """Answers requests by a student, one request a step.

    A student always answers, so its label mass is 1; a candidate that it cannot read has log-probs
    of NaN, and no score.
    """

    window = Window(trees=1, tokens=0)
    groups = 1

    def __init__(self, task: Task, student: Student, info: EngineInfo) -> None:
        self.task, self.student, self.info = task, student, info

    def size(self, work: Request) -> int:
        """Requests are answered one by one, whatever their size."""
        return 0

    def begin(self, works: Sequence[Request]) -> Steps:
        """One request a step."""
        for place, request in enumerate(works):
            yield [(place, self.answer(request))]

    def answer(self, request: Request) -> TreeScore:
        """Per candidate one score per question."""
        logprobs = self.student.answers(request)
        by_question = []
        for name in self.task.questions:
            best = np.argmax(logprobs[name], axis=1).tolist()
            by_question.append(
                [
                    SlotScore(tuple(logs), 1.0, index)
                    for logs, index in zip(logprobs[name].tolist(), best, strict=True)
                ]
            )
        return tuple(zip(*by_question, strict=True))

    def close(self) -> None:
        """Nothing to give back."""
