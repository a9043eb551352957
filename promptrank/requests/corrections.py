"""Corrections: answers by which a person overrides labels, laid on requests as they are read.

A correction is a label and nothing else. Histories, statistics and other as-of numbers stay as the
log has them: a correction becomes known when a person makes it, after every request of the data, so
by the as-of rule it predicts nothing; a live request will show its log as it is, too; and what a
statistic sums is SQL over columns of which an answer says nothing. Where turns train, the logged
answer of a corrected event is not learned (`promptrank.training.label_shares`).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from promptrank.basics.digests import json_digest
from promptrank.basics.hints import near
from promptrank.basics.spreadsheets import read_cells, unguarded
from promptrank.errors import DataError
from promptrank.records import Candidate, Request
from promptrank.requests.judged_labels import judged_cells
from promptrank.requests.judgement_file import ENDING
from promptrank.requests.keys import keys_in
from promptrank.schema.parts import Question
from promptrank.schema.task import Task

DROP = "drop"
"""What is answered where a candidate should have no label."""
CORRECTED = "promptrank:corrected"
"""In a request's ``meta``: candidate -> question -> the logged answer, None where it had none.

`overridden` reads it; a request file's own value of that name is not what `Corrections` put there.
"""
NEEDS = ("request_id", "candidate_id", "answer")
_MOST_PROBLEMS = 20
_NONE: Mapping[str, Mapping[str, str | None]] = MappingProxyType({})
_GROUPED = ("ratings", "judgements")
"""Forms whose requests are made by grouping: their names may change when rows are added."""


@dataclass(frozen=True, slots=True)
class CorrectedLabel:
    """One row of a file of corrections.

    Attributes:
        answer: name of an answer; None: the candidate has no label.
        subject_id: whom the request was for; empty where the file does not say.
        where: file and line.
    """

    request_id: str
    candidate_id: str
    question: str
    answer: str | None
    subject_id: str
    where: str


class _Overridden(dict[str, Mapping[str, str | None]]):
    """What corrections leave in ``meta``; of a type that no request file can hold."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """A task's corrections as laid on one request file.

    Attributes:
        answers: request id -> candidate id -> question -> answer (None: no label).
        given: labels that the files override.
        placed: those whose candidate stands in the request file.
        strayed: those whose candidate does not.
        digest: of all that the files override, for what is made of corrected labels.
    """

    answers: Mapping[str, Mapping[str, Mapping[str, str | None]]]
    given: int
    placed: int
    strayed: Sequence[CorrectedLabel]
    digest: str

    def __call__(self, request: Request) -> Request:
        """The request with its labels overridden; `overridden` says what they were."""
        mine = self.answers.get(request.request_id)
        if mine is None:
            return request
        candidates = tuple(
            _corrected(c, mine[c.candidate_id]) if c.candidate_id in mine else c
            for c in request.candidates
        )
        before = _Overridden(
            (c.candidate_id, {name: c.outcomes.get(name) for name in mine[c.candidate_id]})
            for c in request.candidates
            if c.candidate_id in mine
        )
        return replace(request, candidates=candidates, meta={**request.meta, CORRECTED: before})

    def told(self) -> str:
        """How many there are and how many apply, in words."""
        count = f"{self.placed:,} of {self.given:,} labels"
        text = f"corrections: {count} stand in the requests that were read"
        if self.strayed:
            first = self.strayed[0]
            text += (
                f"; {len(self.strayed):,} match no candidate, such as {first.candidate_id!r} of "
                f"request {first.request_id!r} ({first.where})"
            )
        return text


def overridden(request: Request) -> Mapping[str, Mapping[str, str | None]]:
    """Candidate -> question -> logged answer (None: it had none), where a person overrode it."""
    given = request.meta.get(CORRECTED)
    return given if isinstance(given, _Overridden) else _NONE


def corrected_items(request: Request, question: str) -> tuple[str, ...]:
    """Items of the candidates whose answer to a question a person has overridden."""
    given = overridden(request)
    return tuple(
        c.item.item_id for c in request.candidates if question in given.get(c.candidate_id, ())
    )


def _corrected(candidate: Candidate, answers: Mapping[str, str | None]) -> Candidate:
    merged = {**candidate.outcomes, **answers}
    outcomes = {question: answer for question, answer in merged.items() if answer is not None}
    return replace(candidate, outcomes=outcomes, label_source="correction")


def read_corrections(paths: Iterable[Path], task: Task) -> list[CorrectedLabel]:
    """The rows of these files whose answer is filled in.

    A file that ends in ``.jsonl`` is a judgements file, of which the labels count that most
    labellers agree on (`promptrank.requests.judged_labels`). Columns of others: ``request_id``,
    ``candidate_id``, ``answer``, and ``question`` where the task asks several; ``subject_id``
    finds a label again whose request has another name by now. Others are passed over. An answer is
    named as in the task, or by one of its labels or wordings, in any case; ``drop`` takes the
    label away.

    Raises:
        DataError: the files cannot be read, or rows name no question, no answer, or disagree; each
            with its line.
    """
    words = {name: _words(question) for name, question in task.questions.items()}
    rows: dict[tuple[str, str, str], CorrectedLabel] = {}
    problems: list[str] = []
    for path in paths:
        judged = path.suffix == ENDING
        for line, cells in judged_cells(path) if judged else read_cells(path, NEEDS):
            if not cells["answer"]:
                continue
            where = f"{path}:{line}"
            made = _row(cells, where, task, words)
            if isinstance(made, str):
                problems.append(f"{where}: {made}")
                continue
            key = made.request_id, made.candidate_id, made.question
            before = rows.setdefault(key, made)
            if before.answer != made.answer:
                problems.append(
                    f"{where}: {_said(made)} for {made.candidate_id!r} of request "
                    f"{made.request_id!r}, and {_said(before)} at {before.where}; keep one"
                )
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        shown = [*problems[:_MOST_PROBLEMS], *([f"and {more:,} more"] if more > 0 else [])]
        raise DataError("\n".join(shown))
    return list(rows.values())


def _said(correction: CorrectedLabel) -> str:
    return repr(DROP if correction.answer is None else correction.answer)


def _row(
    cells: Mapping[str, str], where: str, task: Task, words: Mapping[str, Mapping[str, str]]
) -> CorrectedLabel | str:
    """The correction, or what is wrong."""
    request, candidate = unguarded(cells["request_id"]), unguarded(cells["candidate_id"])
    if not request or not candidate:
        return "no request_id or candidate_id; they say which label is meant"
    question = cells.get("question", "")
    if not question:
        if len(task.questions) > 1:
            return f"no question; the task asks {', '.join(task.questions)}"
        question = next(iter(task.questions))
    if question not in words:
        return f"no question {question!r}; {near(question, words)}"
    given = unguarded(cells["answer"])
    known = words[question]
    answer = known.get(given) or known.get(given.casefold())
    if answer is None and given.casefold() != DROP:
        names = (*task.questions[question].answers, DROP)
        return f"no answer {given!r} to {question}; {near(given, names)}"
    subject = unguarded(cells.get("subject_id", ""))
    return CorrectedLabel(request, candidate, question, answer, subject, where)


def _words(question: Question) -> dict[str, str]:
    """What may be written for each answer; a word that two answers share stands for neither."""
    meant: dict[str, set[str]] = defaultdict(set)
    for name, answer in question.answers.items():
        for word in (name, *answer.labels, *answer.say):
            meant[word.casefold()].add(name)
    words = {word: min(names) for word, names in meant.items() if len(names) == 1}
    return words | {name: name for name in question.answers}


def place_corrections(given: Sequence[CorrectedLabel], path: Path, form: str) -> Corrections:
    """Find the candidates of corrections in a request file.

    A request that was made by grouping rows (ratings, judgements) may be called otherwise once rows
    are added. There a label whose request is gone is found by its subject and candidate, where the
    file has exactly one such candidate.

    Raises:
        DataError: no request file.
    """
    wanted = {each.candidate_id for each in given}
    named: set[tuple[str, str]] = set()
    of_subject: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key in keys_in(path, wanted):
        named.add((key.request_id, key.candidate_id))
        of_subject[key.subject_id, key.candidate_id].append(key.request_id)
    answers: dict[str, dict[str, dict[str, str | None]]] = {}
    strayed, placed = [], 0
    # Those whose request is still there go first, so that one that has moved overrides none.
    for each in sorted(given, key=lambda c: (c.request_id, c.candidate_id) not in named):
        request = _request_of(each, named, of_subject if form in _GROUPED else {})
        if request is None:
            strayed.append(each)
            continue
        mine = answers.setdefault(request, {}).setdefault(each.candidate_id, {})
        if each.question not in mine:
            mine[each.question] = each.answer
            placed += 1
    return Corrections(answers, len(given), placed, tuple(strayed), _digest(given))


def _request_of(
    correction: CorrectedLabel,
    named: set[tuple[str, str]],
    of_subject: Mapping[tuple[str, str], Sequence[str]],
) -> str | None:
    if (correction.request_id, correction.candidate_id) in named:
        return correction.request_id
    if not correction.subject_id:
        return None
    requests = of_subject.get((correction.subject_id, correction.candidate_id), ())
    return requests[0] if len(requests) == 1 else None


def _digest(given: Iterable[CorrectedLabel]) -> str:
    rows = [[c.request_id, c.candidate_id, c.question, c.answer, c.subject_id] for c in given]
    return json_digest(sorted(rows, key=str))
