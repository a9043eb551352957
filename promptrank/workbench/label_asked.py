"""What an address of the page Label asks for, and the keys of a question's answers."""

import string
from dataclasses import dataclass
from typing import Any

from promptrank.schema.parts import Question
from promptrank.serve.refused import refuse
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.label_cards import DIFFERENT, RANDOM, UNCERTAIN
from promptrank.workbench.label_pool import parts_of_task

PAIRS = "pairs"
"""In place of a question: which of two fits better."""
_LABELS = ("all", "without", "with")
_TAKEN = "uscd"
"""Keys of the page itself: undo, skip, comment, drop."""


@dataclass(frozen=True, slots=True)
class AnswerChoice:
    """An answer as a button: its name, its wording, and its keys."""

    answer: str
    wording: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LabelAsked:
    """What an address of the page asks for.

    Attributes:
        what: a question of the task, or `PAIRS`.
    """

    task: DeskTask
    what: str
    by: str
    part: str
    labels: str

    @property
    def question(self) -> str | None:
        """None for pairs."""
        return None if self.what == PAIRS else self.what


def asked_of(desk: Desk, given: Any) -> LabelAsked:
    """What the fields of an address or a form ask for.

    Raises:
        Refused: (404) no such task, question, order, part or choice of labels.
    """
    task = desk.task(given.get("task"))
    questions = task.opened.task.questions
    parts = parts_of_task(task.opened)
    made = LabelAsked(
        task,
        given.get("what") or next(iter(questions)),
        given.get("by") or RANDOM,
        given.get("part") or parts[0],
        given.get("labels") or "all",
    )
    known = (
        (made.what, (*questions, PAIRS), "question"),
        (made.by, (RANDOM, UNCERTAIN, DIFFERENT), "order"),
        (made.part, parts, "part"),
        (made.labels, _LABELS, "choice of labels"),
    )
    for value, values, what in known:
        if value not in values:
            raise refuse(404, "not_known", f"no {what} {value!r}; {', '.join(values)}")
    return made


def choices_of(question: Question) -> list[AnswerChoice]:
    """The answers with their keys: a digit, and a first letter that no other answer has."""
    firsts = [answer.say[0].strip()[:1].lower() for answer in question.answers.values()]
    made = []
    for place, (name, answer) in enumerate(question.answers.items()):
        first, digit = firsts[place], str(place + 1)
        own = firsts.count(first) == 1 and first in string.ascii_lowercase and first not in _TAKEN
        keys = ([digit] if place < 9 else []) + ([first] if own else [])
        made.append(AnswerChoice(name, answer.say[0].strip(), tuple(keys)))
    return made
