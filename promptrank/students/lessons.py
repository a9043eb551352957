"""What students learn from: requests with labels and the teacher's answers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.errors import DataError
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores
from promptrank.students.scale import worths
from promptrank.students.targets import Known, Loss

MIN_LABELS = 50
MIN_CLASS = 5
_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class Lesson:
    """A request with what is known of its candidates, in their order.

    Attributes:
        labels: question -> index of the answer that came true, or None.
        teacher: question -> (answers,) probabilities, or None where the teacher was not asked.
    """

    request: Request
    labels: Mapping[str, Sequence[int | None]]
    teacher: Mapping[str, Sequence[Floats | None]]


Lessons = Callable[[], Iterable[Lesson]]
"""Gives the lessons from the start again at each call; parts ``train`` and ``valid`` only."""


@dataclass(frozen=True, slots=True)
class Learning:
    """How to learn; what a kind does not use it ignores.

    Attributes:
        alpha: weight of the teacher beside a label's 1.
        options: settings of the kind by name; its docstring lists them.
    """

    loss: Loss = "auxiliary"
    alpha: float = 1.0
    seed: int = 0
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"


@dataclass(slots=True)
class LessonRows:
    """Flat rows of lessons, for the kinds that want arrays; aligned with their features.

    Attributes:
        known: by question.
        valid: whether the row is of part ``valid``.
        request: code of the row's request, ascending.
    """

    known: dict[str, Known]
    valid: np.ndarray[Any, np.dtype[np.bool_]]
    request: np.ndarray[Any, np.dtype[np.int64]]


def shares_of(task: Task, scores: Scores, question: str) -> Floats:
    """(rows, answers) probabilities among the declared answers; NaN where one has no log-prob."""
    logs = scores.logprobs(task, question)
    values = np.exp(logs - logs.max(1, keepdims=True))
    shares: Floats = values / values.sum(1, keepdims=True)
    return shares


def make_lessons(
    task: Task,
    requests: Iterable[Request],
    teacher: Scores | None,
    *,
    labelled: set[str] | None = None,
) -> Iterator[Lesson]:
    """Lessons of the requests of parts ``train`` and ``valid`` (or of no part at all).

    Args:
        teacher: who answered for them; None for nobody.
        labelled: requests whose labels may be used; all where left out.
    """
    shares: dict[str, Floats] = {}
    index: Mapping[tuple[str, str], int] = {}
    if teacher is not None:
        shares = {name: shares_of(task, teacher, name) for name in task.questions}
        index = teacher.index
    answers = {
        name: {answer: i for i, answer in enumerate(q.answers)}
        for name, q in task.questions.items()
    }
    for request in requests:
        if request.split not in ("train", "valid", None):
            continue
        shown = labelled is None or request.request_id in labelled
        rows = [index.get((request.request_id, c.candidate_id)) for c in request.candidates]
        yield Lesson(
            request,
            {
                name: [
                    places.get(c.outcomes.get(name, "")) if shown else None
                    for c in request.candidates
                ]
                for name, places in answers.items()
            },
            {name: [_taught(shares.get(name), row) for row in rows] for name in answers},
        )


def _taught(shares: Floats | None, row: int | None) -> Floats | None:
    if shares is None or row is None or np.isnan(shares[row]).any():
        return None
    answers: Floats = shares[row]
    return answers


def collect(task: Task, lessons: Iterable[Lesson]) -> LessonRows:
    """Labels, teacher and weights of all candidates as arrays."""
    labels: dict[str, list[int]] = {name: [] for name in task.questions}
    teacher: dict[str, list[Floats]] = {name: [] for name in task.questions}
    nothing = {n: np.full(len(q.answers), np.nan) for n, q in task.questions.items()}
    weight: list[float] = []
    valid: list[bool] = []
    request: list[int] = []
    for code, lesson in enumerate(lessons):
        candidates = lesson.request.candidates
        weight += [1.0 if c.weight is None else c.weight for c in candidates]
        valid += [lesson.request.split == "valid"] * len(candidates)
        request += [code] * len(candidates)
        for name in task.questions:
            labels[name] += [-1 if i is None else i for i in lesson.labels[name]]
            teacher[name] += [nothing[name] if t is None else t for t in lesson.teacher[name]]
    known = {
        name: Known(
            _one_hot(np.array(labels[name], dtype=np.int64), len(question.answers)),
            np.array(teacher[name]).reshape(len(weight), len(question.answers)),
            np.array(weight),
            worths(question),
        )
        for name, question in task.questions.items()
    }
    return LessonRows(known, np.array(valid, dtype=np.bool_), np.array(request, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Tally:
    """How much of a question there is to learn from, in training.

    Attributes:
        relevant, other: labels of candidates with weight, by whether their answer is relevant.
        taught: candidates that the teacher answered for.
    """

    relevant: int = 0
    other: int = 0
    taught: int = 0

    def __add__(self, more: "Tally") -> "Tally":
        relevant, other = self.relevant + more.relevant, self.other + more.other
        return Tally(relevant, other, self.taught + more.taught)


def tally(task: Task, lessons: Iterable[Lesson]) -> dict[str, Tally]:
    """Counts by question, some lessons in memory at a time."""
    counts = dict.fromkeys(task.questions, Tally())
    waiting = iter(lessons)
    while chunk := list(islice(waiting, _CHUNK)):
        for name, more in tally_rows(task, collect(task, chunk)).items():
            counts[name] += more
    return counts


def tally_rows(task: Task, rows: LessonRows) -> dict[str, Tally]:
    """Counts by question of rows that are in memory."""
    train = ~rows.valid
    counts = {}
    for name, known in rows.known.items():
        relevant = known.values >= _relevant(task, name)
        labels = known.labels[train & (known.weight > 0)].sum(0)
        taught = int((known.taught & train).sum())
        counts[name] = Tally(int(labels[relevant].sum()), int(labels[~relevant].sum()), taught)
    return counts


def check(counts: Mapping[str, Tally], settings: Learning) -> None:
    """DataError where there is too little to learn from."""
    for name, count in counts.items():
        yes, no, taught = count.relevant, count.other, count.taught
        if settings.loss != "labels" and not taught and settings.loss != "self-auxiliary":
            raise DataError(
                f"{name}: the teacher has answered for no training candidate, and loss "
                f"{settings.loss} learns from its answers; give scores of the training part"
            )
        if settings.loss == "direct" and taught >= MIN_LABELS:
            continue  # a student may learn from the teacher alone
        if yes + no < MIN_LABELS or min(yes, no) < MIN_CLASS:
            raise DataError(
                f"{name}: {yes + no} training labels ({yes} relevant, {no} not) are too few; "
                f"at least {MIN_LABELS}, and {MIN_CLASS} of each, are needed. Label more, or learn "
                "from the teacher's answers with --loss direct"
            )


def _relevant(task: Task, name: str) -> float:
    question = task.questions[name]
    values = [a.value for a in question.answers.values()]
    return (question.relevant_at - min(values)) / (max(values) - min(values)) - 1e-12


def _one_hot(index: np.ndarray[Any, np.dtype[np.int64]], size: int) -> Floats:
    table: Floats = np.zeros((len(index), size))
    rows = np.flatnonzero(index >= 0)
    table[rows, index[rows]] = 1.0
    return table
