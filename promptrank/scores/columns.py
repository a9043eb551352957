"""The columns of scores.

One row per scored candidate. What everybody needs comes first; then, per question Q and answer A,
what the model said; then what the prompt lost; then what steps changed:

``request_id, candidate_id``
    the key; together they come once.
``subject_id, split, time, item_id``
    of the request and the candidate.
``rank, score, probability``
    place in the ranking (1 is best), the final score, and P(relevant) where the score has one.
``method_score``
    the method's own score (a decoder's, a student's), before any step.
``partial``
    whether the request's ranking lost a candidate.
``Q_score, Q_probability, Q_label_mass, Q_argmax, Q_logprob_A``
    see `promptrank.ranking.answered.Answered`.
``events_given, events_kept, events_dropped, events_failed, fields_shortened``
    what the budget left out.
``prompt_tokens``
    how long the candidate's prompt is, up to the end of its longest question; null where nothing
    reads prompts.
``propensity``
    probability with which an exploring step put the candidate at its rank; null where none did.
``changes``
    one entry per step that ran: its name, score and rank before it, and why it changed them.
"""

import pyarrow as pa

from promptrank.schema.question_columns import question_columns
from promptrank.schema.task import Task

KEY = ("request_id", "candidate_id")
EVENTS = ("given", "kept", "dropped", "failed")
CHANGE = pa.struct(
    [
        ("step", pa.string()),
        ("score", pa.float64()),
        ("rank", pa.int32()),
        ("why", pa.string()),
    ]
)
LEAST = pa.schema([(name, pa.string()) for name in KEY] + [("score", pa.float64())])
"""What scores from elsewhere need; they may have ``probability`` too."""


def schema_of(task: Task, *, answers: bool = True) -> pa.Schema:
    """All columns of a task's scores, in their order.

    Args:
        answers: whether the ranker answers the task's questions; a baseline gives scores alone.
    """
    columns: list[tuple[str, pa.DataType]] = [
        ("request_id", pa.string()),
        ("subject_id", pa.string()),
        ("split", pa.string()),
        ("time", pa.float64()),
        ("candidate_id", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("probability", pa.float64()),
        ("method_score", pa.float64()),
        ("partial", pa.bool_()),
    ]
    for name, question in task.questions.items() if answers else ():
        columns += [
            (column, pa.string() if column == f"{name}_argmax" else pa.float64())
            for column in question_columns(name, question.answers)
        ]
    columns += [(f"events_{what}", pa.int32()) for what in EVENTS]
    columns += [("fields_shortened", pa.string()), ("prompt_tokens", pa.int32())]
    columns += [("propensity", pa.float64()), ("changes", pa.list_(CHANGE))]
    return pa.schema(columns)
