"""Planted data for students: requests whose true probabilities are known."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from promptrank.records import Candidate, Item, Request, Subject
from promptrank.schema.load import parse_task
from promptrank.schema.question_columns import logprob_column
from promptrank.schema.task import Task
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores
from promptrank.students.lessons import Lesson

Floats = NDArray[np.float64]

TASK = """\
domain: planted
template: planted.j2
tables: {items: {path: items.csv, key: item_id}}
judgements: {path: judged.csv, query: query, item: items, label: label}
questions:
  good: {answers: {hit: {say: [Good], value: 1}, miss: {say: [Bad], value: 0}}}
split: {by: subject, test: 0.2}
"""


def planted_task() -> Task:
    """One question with two answers; the first is relevant."""
    return parse_task(yaml.safe_load(TASK), "planted")


def sigmoid(x: Floats) -> Floats:
    chances: Floats = 1 / (1 + np.exp(-x))
    return chances


@dataclass(frozen=True)
class Planted:
    """Candidates in requests of ten.

    Attributes:
        x: (rows, columns), the candidates' context numbers.
        chance: (rows,) true P(yes).
        truth: (rows,) drawn from it.
    """

    x: Floats
    chance: Floats
    truth: NDArray[np.bool_]

    def first(self, rows: int) -> "Planted":
        """Fewer of them."""
        return Planted(self.x[:rows], self.chance[:rows], self.truth[:rows])

    def requests(self, split: str, name: str = "r") -> list[Request]:
        """As requests, ten candidates each, without outcomes."""
        return [
            Request(
                f"{name}{start}",
                Subject(query_id=f"{name}{start}", query={}),
                tuple(
                    Candidate(
                        str(i),
                        Item(f"i{i}", {}),
                        context={f"x{k}": float(v) for k, v in enumerate(self.x[start + i])},
                    )
                    for i in range(10)
                ),
                split=split,
            )
            for start in range(0, len(self.x), 10)
        ]


def plant(rows: int, logit: Callable[[Floats], Floats], columns: int, seed: int) -> Planted:
    """Normal columns and labels drawn from the logit's probability."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, columns))
    chance = sigmoid(logit(x))
    return Planted(x, chance, generator.random(rows) < chance)


def lessons(
    requests: list[Request],
    label: NDArray[np.bool_] | None,
    teacher: Floats | None = None,
) -> list[Lesson]:
    """Lessons of requests of ten; ``label`` and ``teacher`` (P(yes)) by row."""
    made = []
    for number, request in enumerate(requests):
        rows = range(10 * number, 10 * number + 10)
        made.append(
            Lesson(
                request,
                {"good": [None if label is None else 1 - int(label[i]) for i in rows]},
                {
                    "good": [
                        None if teacher is None else np.array([teacher[i], 1 - teacher[i]])
                        for i in rows
                    ]
                },
            )
        )
    return made


def teacher_scores(task: Task, shares: Mapping[tuple[str, str], Sequence[Floats]]) -> Scores:
    """Scores of a teacher whose answers are these probabilities, by candidate and question."""
    columns: dict[str, pa.Array] = {
        "request_id": pa.array([request for request, _ in shares], pa.string()),
        "candidate_id": pa.array([candidate for _, candidate in shares], pa.string()),
        "score": pa.nulls(len(shares), pa.float64()),
    }
    for place, (name, question) in enumerate(task.questions.items()):
        for number, answer in enumerate(question.answers):
            logs = [float(np.log(given[place][number])) for given in shares.values()]
            columns[logprob_column(name, answer)] = pa.array(logs, pa.float64())
    return Scores(pa.table(columns), Origin("teacher"))
