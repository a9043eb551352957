"""What a candidate was worth: its outcomes as one number."""

import math
from collections.abc import Callable, Mapping

from promptrank.errors import InputError
from promptrank.records import Candidate
from promptrank.schema.expression import compile_expression
from promptrank.schema.task import Task


def gain_of(task: Task) -> tuple[Callable[[Candidate], float | None], float]:
    """A candidate's gain from its outcomes, and the gain from which it is relevant.

    With several questions the gain is the task's score expression over the answers' values, and
    relevant is what reaches the gain of a relevant answer to the first question and the least
    answers to the others.

    Raises:
        InputError: here and on a call, where the expression is no number for these values, such as
            a division by zero.
    """
    expression = compile_expression(task.score_expression)
    values = {
        name: {a: answer.value for a, answer in question.answers.items()}
        for name, question in task.questions.items()
    }

    def combine(given: Mapping[str, float]) -> float:
        try:
            value = expression(given)
        except (ZeroDivisionError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            said = ", ".join(f"{name} is {worth:g}" for name, worth in given.items())
            raise InputError(
                f"score: {task.score_expression[:80]!r} is no number where {said}; change it, or "
                "the answers' values"
            )
        return value

    def gain(candidate: Candidate) -> float | None:
        known = {n: v[candidate.outcomes[n]] for n, v in values.items() if n in candidate.outcomes}
        return combine(known) if len(known) == len(values) else None

    first, *others = task.questions
    least = {n: min(values[n].values()) for n in others}
    return gain, combine({first: task.questions[first].relevant_at, **least})
