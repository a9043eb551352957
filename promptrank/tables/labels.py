"""Labels in the data and the answers they stand for, as SQL.

Inside the builder an answer is its place (0, 1, ...) among the answers of its question, which is
also its priority: where several things happened, the answer declared first counts.
"""

import re
from collections.abc import Mapping

from promptrank.basics.sql import EXACT, ident, literal
from promptrank.schema.parts import Question
from promptrank.tables.build_plan import Plan

_WHOLE = re.compile(r"(-?\d+)\.0+")


def places(question: Question) -> dict[str, int]:
    """Label -> place of its answer; ``4.0`` also answers to ``4``, as ids do."""
    places: dict[str, int] = {}
    for place, (name, answer) in enumerate(question.answers.items()):
        for label in answer.labels or [name]:
            places.setdefault(label, place)
            whole = _WHOLE.fullmatch(label)
            if whole is not None:
                places.setdefault(whole[1], place)
    return places


def place_of(label: str, question: Question) -> str:
    """SQL: the place of the answer that a label stands for, NULL where there is none."""
    cases = " ".join(f"WHEN {literal(k)} THEN {v}" for k, v in places(question).items())
    return f"CAST(CASE {label} {cases} END AS TINYINT)"


def value_of(place: str, question: Question) -> str:
    """SQL: the value of the answer in a place."""
    cases = " ".join(f"WHEN {i} THEN {a.value!r}" for i, a in enumerate(question.answers.values()))
    return f"CAST(CASE {place} {cases} END AS {EXACT})"


def answers_of(prefix: str, questions: Mapping[str, Question]) -> str:
    """SQL: a struct question -> answer name, from columns ``<prefix><question>`` of places."""
    fields = []
    for name, question in questions.items():
        column = prefix + ident(place_column(name))
        cases = " ".join(f"WHEN {i} THEN {literal(a)}" for i, a in enumerate(question.answers))
        fields.append(f"{ident(name)} := CASE {column} {cases} END")
    return f"struct_pack({', '.join(fields)})"


def place_column(question: str) -> str:
    """Name of the column that holds the place of a question's answer."""
    return f"a_{question}"


def priorities(questions: Mapping[str, Question]) -> dict[str, int]:
    """Every label any question knows -> its priority, 0 first: by question, answer, wording."""
    priorities: dict[str, int] = {}
    for question in questions.values():
        for label, _ in sorted(places(question).items(), key=lambda pair: pair[1]):
            priorities.setdefault(label, len(priorities))
    return priorities


def priority_of(label: str, questions: Mapping[str, Question]) -> str:
    """SQL: a label's priority, NULL where no question knows it."""
    cases = " ".join(f"WHEN {literal(k)} THEN {v}" for k, v in priorities(questions).items())
    return f"CAST(CASE {label} {cases} END AS SMALLINT)"


def label_of(priority: str, questions: Mapping[str, Question]) -> str:
    """SQL: the label of a priority."""
    cases = " ".join(f"WHEN {v} THEN {literal(k)}" for k, v in priorities(questions).items())
    return f"CASE {priority} {cases} END"


def label_source_of(plan: Plan) -> str | None:
    """SQL over ``row_no`` and ``label``: where a candidate's label comes from.

    None where all labels of the task come from one place.
    """
    outcomes = plan.task.outcomes
    source = literal("outcomes" if outcomes is not None else plan.task.form)
    cases = []
    if plan.negatives is not None:
        cases.append("WHEN row_no IS NULL THEN 'sampled'")
    cases.append("WHEN label IS NULL THEN NULL")
    if outcomes is not None and outcomes.none is not None:
        cases.append(f"WHEN label = {literal(outcomes.none)} THEN 'no outcome'")
    if len(cases) == 1:
        return None
    return f"CASE {' '.join(cases)} ELSE {source} END"
