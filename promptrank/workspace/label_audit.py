"""The labels that rankers most agree to doubt, as a file for a person to review."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptrank.baselines.baseline import Aim, aim_of
from promptrank.basics.arrays import Floats
from promptrank.basics.spreadsheets import read_cells, write_cells
from promptrank.errors import DataError, InputError
from promptrank.evaluation.doubts import MOST, Doubt, Opinion, agreed, by_place, by_probability
from promptrank.records import Candidate, Request
from promptrank.requests.corrections import overridden
from promptrank.requests.source import Sample
from promptrank.runs.outputs import check_output
from promptrank.schema.question_columns import logprob_column
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores
from promptrank.workspace.catalogue import printed_item_fields
from promptrank.workspace.fusions import FUSED, WITHOUT
from promptrank.workspace.tasks import OpenTask

_OTHERS = ("rrf:", "template:")
"""Rankers made of others, or the same one with other words: their doubts would count twice."""
_SHOWN = 5  # texts of what a request looks for
_LONGEST = 4_000  # characters of a text; a spreadsheet's cell ends at 32,767


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit found.

    Attributes:
        labels: how many were looked at; those that a person has overridden are settled.
        rankers: whose doubts counted; nothing was written where there is none.
        doubts: how many most of them doubt; the first `MOST` of these are in the file.
        trained_on: whether some are of the part that rankers may have learned by heart.
    """

    path: Path
    labels: int
    rankers: tuple[str, ...]
    doubts: int
    trained_on: bool = False

    def told(self) -> str:
        """The outcome, in words."""
        if not self.rankers:
            return (
                "label audit: nothing written: no ranker here orders labels better than chance and "
                "says something of each; with several questions it takes a decoder, a student or "
                "a scores file with answers"
            )
        who = f"{len(self.rankers)} rankers" if len(self.rankers) > 1 else self.rankers[0]
        most = "most of " if len(self.rankers) > 1 else ""
        text = (
            f"label audit: {self.doubts:,} of {self.labels:,} labels are doubted by {most}{who}; "
            "what is doubted need not be wrong"
        )
        if self.doubts > MOST:
            text += f"; the {MOST} most doubtful are listed"
        if self.doubts:
            text += "; fill in `answer`, and name the file in the task as `corrections`"
        learned = "; whoever was trained on labels of train does not doubt them"
        return text + (learned if self.trained_on else "")


def check_doubts(path: str | Path) -> Path:
    """The file that doubts go to; one in which a person has written is never written over.

    Raises:
        InputError: it cannot be written to, holds a person's answers or comments, or is no file of
            doubts at all.
    """
    place = check_output(path, (".csv",))
    if not place.exists():
        return place
    try:
        rows = read_cells(place, ("answer", "comment"))
        filled = sum(bool(row["answer"] or row["comment"]) for _, row in rows)
    except DataError as error:
        raise InputError(
            f"--doubts {place}: is there and is no file of doubts ({error}); name another"
        ) from None
    if filled:
        raise InputError(
            f"--doubts {place}: answers or comments are filled in there ({filled:,} rows), and "
            "would be lost; name another file (and name this one under `corrections:` in the task)"
        )
    return place


def write_doubts(
    opened: OpenTask,
    path: Path,
    sample: Sample,
    scores: Mapping[str, Scores],
    *,
    control: str | None,
    with_text: bool,
) -> Audited:
    """Write the labels that the rankers most agree to doubt, worst first.

    Args:
        scores: of all that is compared; chance, fusions and other copies are passed over.
        control: the ranker that saw made-up texts.

    Raises:
        InputError: the file has answers or comments by now.
    """
    own = [name for name in scores if name not in ("random", control, FUSED, WITHOUT)]
    own = [name for name in own if not name.startswith(_OTHERS)]
    rows: list[list[str | float]] = []
    labels, heard = 0, dict[str, bool]()
    audits = [_audit(opened.task, name, sample, scores, own) for name in opened.task.questions]
    for audit in audits:
        labels += len(audit.rows)
        heard |= {each.name: each.probability for each in audit.opinions}
    if not heard:
        return Audited(path, labels, (), 0)
    texts = _Texts(aim_of(opened.task, printed_item_fields(opened))) if with_text else None
    doubts = [(audit, doubt) for audit in audits for doubt in agreed(audit.opinions)]
    doubts.sort(key=lambda pair: pair[1].mean_rank)
    for audit, doubt in doubts[:MOST]:
        rows.append(list(_cells(audit, doubt, heard, texts)))
    columns = ["request_id", "candidate_id", "subject_id", "time", "question", "label", "answer"]
    columns += ["comment", *(["wanted", "candidate"] if with_text else [])]
    columns += ["doubted_by", "rankers", "mean_rank"]
    columns += [f"{name} {'probability' if p else 'place'}" for name, p in heard.items()]
    write_cells(check_doubts(path), columns, rows)
    trained_on = any(request.split == "train" for request in sample)
    return Audited(path, labels, tuple(heard), len(doubts), trained_on)


@dataclass(frozen=True, slots=True)
class _Audit:
    """Labels of one question, and what rankers say of them."""

    question: str
    rows: Sequence[tuple[Request, Candidate]]
    opinions: Sequence[Opinion]


def _audit(
    task: Task, name: str, sample: Sample, scores: Mapping[str, Scores], rankers: Sequence[str]
) -> _Audit:
    rows = [
        (request, candidate)
        for request in sample
        for candidate in request.candidates
        if name in candidate.outcomes
        and name not in overridden(request).get(candidate.candidate_id, ())
    ]
    said = (_opinion(task, name, rows, who, scores[who]) for who in rankers) if rows else ()
    opinions: list[Opinion] = []
    for each in said:
        if each is None or not each.weight or np.isnan(each.order).all():
            continue
        if not any(_alike(each, other) for other in opinions):
            opinions.append(each)
    return _Audit(name, rows, opinions)


def _alike(one: Opinion, other: Opinion) -> bool:
    return np.array_equal(one.order, other.order, equal_nan=True)


def _opinion(
    task: Task,
    name: str,
    rows: Sequence[tuple[Request, Candidate]],
    who: str,
    scores: Scores,
) -> Opinion | None:
    """What a ranker says of a question's labels, by the most telling numbers that it has."""
    question = task.questions[name]
    answers = list(question.answers)
    labels = np.array([answers.index(c.outcomes[name]) for _, c in rows], dtype=np.int64)
    at = scores.rows((r.request_id, c.candidate_id) for r, c in rows)
    values: Floats = np.array([answer.value for answer in question.answers.values()])
    codes: dict[str, int] = {}
    numbers = [codes.setdefault(r.request_id, len(codes)) for r, _ in rows]
    requests = np.array(numbers, dtype=np.int64)
    if all(scores.has(logprob_column(name, answer)) for answer in answers):
        chances = np.exp(np.vstack([scores.logprobs(task, name), np.full(len(answers), np.nan)]))
        chances = chances[at] / chances[at].sum(axis=1, keepdims=True)
        place = by_place(who, chances @ values, values[labels], requests)
        return by_probability(who, chances, labels, place.weight)
    if len(task.questions) > 1:
        return None  # its score is of all questions together
    place = by_place(who, scores.at("score", at), values[labels], requests)
    relevant = scores.at("probability", at)
    if np.isnan(relevant).all():
        return place
    grades = (values >= question.relevant_at)[labels].astype(np.int64)
    return by_probability(who, np.column_stack([1 - relevant, relevant]), grades, place.weight)


@dataclass(frozen=True, slots=True)
class _Texts:
    """The texts of a label: what the request looks for, and the candidate's."""

    aim: Aim

    def cells(self, request: Request, candidate: Candidate) -> tuple[str, str]:
        wanted = self.aim.texts.wanted(request)[-_SHOWN:]
        return _cut(" | ".join(wanted)), _cut(self.aim.texts.of(candidate.item))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _cells(
    audit: _Audit, doubt: Doubt, heard: Mapping[str, bool], texts: _Texts | None
) -> Iterator[str | float]:
    request, candidate = audit.rows[doubt.row]
    yield from (request.request_id, candidate.candidate_id, request.subject.subject_id)
    yield from ("" if request.time is None else request.time, audit.question)
    yield from (candidate.outcomes[audit.question], "", "")
    if texts is not None:
        yield from texts.cells(request, candidate)
    yield from (doubt.doubted_by, doubt.rankers, round(doubt.mean_rank, 4))
    said = {each.name: round(float(each.says[doubt.row]), 4) for each in audit.opinions}
    yield from (said.get(name, "") for name in heard)
