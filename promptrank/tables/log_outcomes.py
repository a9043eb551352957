"""What came of the candidates of a server's log: outcomes in a file of their own, as labels.

The rules are those of a task's `outcomes` (`promptrank.tables.outcomes`), over requests that bring
all else with them: an outcome counts from when its request was answered until the window closes,
of several the answer that is declared first counts, and what is younger than the window, seen from
the end of log and outcomes, has no label yet.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from promptrank.basics.door import lock
from promptrank.basics.hints import near
from promptrank.basics.sql import Connection, columns, ident, run, seconds_of, text_of
from promptrank.errors import DataError, InputError
from promptrank.records import Candidate
from promptrank.schema.parts import Question
from promptrank.schema.task import Task
from promptrank.tables.labels import places
from promptrank.tables.loading import database
from promptrank.tables.reading import table_rows

_KEY = ("request_id", "candidate_id", "label")
_KINDS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json", ".json": "json"}

Happened = tuple[float | None, str]
"""When (unix seconds), and what."""


@dataclass(slots=True)
class LogOutcomes:
    """Outcomes by request and candidate.

    Attributes:
        questions: of the task.
        rows: request id -> candidate id -> what happened.
        within: seconds after the answer in which an outcome counts; None for ever.
        none: label where nothing happened; None: then there is no label.
        end: the last moment that log or outcomes know of.
        matched: outcomes whose candidate was asked about so far.
        early: outcomes from before their answer so far, which count for nothing.
        unknown: labels that no answer has -> how many.
        answers: question -> answers that outcomes gave so far.
    """

    questions: Mapping[str, Question]
    rows: Mapping[str, Mapping[str, list[Happened]]]
    within: float | None
    none: str | None
    end: float
    matched: int = 0
    early: int = 0
    unknown: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    answers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def __len__(self) -> int:
        return sum(len(mine) for each in self.rows.values() for mine in each.values())

    def labels(
        self, request_id: str, at: float, candidate: Candidate
    ) -> tuple[dict[str, str], str]:
        """Question -> answer of one candidate, and where that comes from; empty for no label.

        Args:
            at: when it was answered.
        """
        happened = self.rows.get(request_id, {}).get(candidate.candidate_id, [])
        self.matched += len(happened)
        self.early += sum(when is not None and when < at for when, _ in happened)
        until = None if self.within is None else at + self.within
        if until is not None and until > self.end:
            return {}, ""
        counting = [
            label
            for when, label in happened
            if when is None or (when >= at and (until is None or when <= until))
        ]
        best = {name: self._best(question, counting) for name, question in self.questions.items()}
        known = {name: answer for name, answer in best.items() if answer is not None}
        for name, answer in known.items():
            self.answers[name].add(answer)
        for label in counting:
            if not any(label in places(question) for question in self.questions.values()):
                self.unknown[label] += 1
        # What was not shown nobody could react to; and something happened that no answer covers.
        if known or counting or self.none is None or candidate.position is None:
            return known, "outcomes"
        nothing = {n: self._best(question, [self.none]) for n, question in self.questions.items()}
        return {n: answer for n, answer in nothing.items() if answer is not None}, "no outcome"

    def _best(self, question: Question, labels: list[str]) -> str | None:
        known = places(question)
        declared = [known[label] for label in labels if label in known]
        return list(question.answers)[min(declared)] if declared else None


def read_log_outcomes(
    path: Path, task: Task, *, within: float | None, none: str | None, end: float
) -> LogOutcomes:
    """Outcomes from a file with ``request_id``, ``candidate_id``, ``label``, and perhaps ``time``.

    Args:
        end: the last moment that the log knows of.

    Raises:
        DataError: no such file, a column that is missing, or times that are none.
        InputError: a window without times, or a label ``none`` that no answer has.
    """
    if none is not None and not any(none in places(q) for q in task.questions.values()):
        known = [label for question in task.questions.values() for label in places(question)]
        raise InputError(f"--none {none}: no answer has this label; {near(none, known)}")
    rows: dict[str, dict[str, list[Happened]]] = defaultdict(lambda: defaultdict(list))
    timed = False
    for request, candidate, when, label in _rows(path):
        rows[request][candidate].append((when, label))
        if when is not None:
            end, timed = max(end, when), True
    if within is not None and rows and not timed:
        raise InputError(f"{path}: no time in a column `time`, which a window (--within) needs")
    return LogOutcomes(task.questions, rows, within, none, end)


def _rows(path: Path) -> Iterator[tuple[str, str, float | None, str]]:
    kind = _KINDS.get(path.suffix)
    if kind is None:
        raise DataError(f"{path}: outcomes are in a file that ends in {', '.join(_KINDS)}")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of outcomes")
    where = str(path)
    with database(path.parent) as (con, _):
        lock(con, [where])
        relation = table_rows(con, where, [where], kind, set(_KEY))
        kinds = columns(con, relation, where)
        if missing := [name for name in _KEY if name not in kinds]:
            raise DataError(f"{path}: no column {missing[0]!r}; {near(missing[0], list(kinds))}")
        key = ", ".join(text_of(ident(name), kinds[name]) for name in _KEY)
        time = "NULL"
        if "time" in kinds:
            time = seconds_of(ident("time"), kinds["time"], where)
            _refuse_no_times(con, relation, kinds["time"], time, where)
        query = f"SELECT {key}, {time} FROM {relation}"
        cursor = run(con, query, where)
        while batch := cursor.fetchmany(10_000):
            for request, candidate, label, when in batch:
                if request is not None and candidate is not None and label is not None:
                    yield request, candidate, when, label


def _refuse_no_times(con: Connection, relation: str, kind: str, time: str, where: str) -> None:
    """DataError with a text that is no time; numbers that are none count as left out."""
    if kind != "VARCHAR":
        return
    column = ident("time")
    # A word before a number: one word is enough to make text of a column of unix seconds.
    row = run(
        con,
        f"SELECT {column} FROM {relation} WHERE {column} IS NOT NULL AND ({time}) IS NULL "
        f"ORDER BY TRY_CAST({column} AS DOUBLE) IS NULL DESC LIMIT 1",
        where,
    ).fetchone()
    if row is not None:
        raise DataError(
            f"{where}: time: {row[0]!r:.60} is no time; give unix seconds or a timestamp "
            "(2024-05-01T08:00:00Z), of one kind in the whole column"
        )
