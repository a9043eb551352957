"""What a candidate was worth: its outcomes as one number."""

from collections.abc import Callable

from promptrank.records import Candidate
from promptrank.schema.expression import compile_expression
from promptrank.schema.task import Task


def gain_of(task: Task) -> tuple[Callable[[Candidate], float | None], float]:
    """A candidate's gain from its outcomes, and the gain from which it is relevant.

    With several questions the gain is the task's score expression over the answers' values, and
    relevant is what reaches the gain of a relevant answer to the first question and the least
    answers to the others.
    """
    combine = compile_expression(task.score_expression)
    values = {
        name: {a: answer.value for a, answer in question.answers.items()}
        for name, question in task.questions.items()
    }

    def gain(candidate: Candidate) -> float | None:
        known = {n: v[candidate.outcomes[n]] for n, v in values.items() if n in candidate.outcomes}
        return combine(known) if len(known) == len(values) else None

    first, *others = task.questions
    least = {n: min(values[n].values()) for n in others}
    return gain, combine({first: task.questions[first].relevant_at, **least})
