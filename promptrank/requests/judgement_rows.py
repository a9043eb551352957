"""Judgements of people as rows of a file that only grows: answers, preferences, and undoing.

A row holds ids and what was said of them, and none of the texts that were shown: these may be
private, and they are in the data already.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any, Literal

from promptrank.errors import InputError

Kind = Literal["answer", "preference", "skip", "undo"]
LONGEST_COMMENT, LONGEST_NAME, LONGEST_ID = 2_000, 60, 1_000
"""Characters of a comment, of a labeller's name, and of an id."""
_LATEST = 2**36  # seconds: a year that dates can hold


@dataclass(frozen=True, slots=True)
class Judgement:
    """One row.

    Attributes:
        id: given where the judgement was made, so that one that is sent twice is kept once.
        time: unix seconds.
        labeller: the name by which that person goes.
        kind: ``answer`` to a question about one candidate; ``preference`` between two of a request;
            ``skip``, no judgement on these; ``undo``, which takes back a row of the same labeller.
        subject_id: whom the request was for, by which a label is found again.
        candidate_ids: one, or two in the order in which they were shown.
        answer: an answer of the task by its name, or ``drop``: this should have no label.
        preferred: the candidate that fits better; None where both fit equally.
        by: how it was chosen to be shown: ``random``, ``uncertain`` or
            ``different``.
        shown: digest of the texts that were seen.
        undoes: id of the row that is taken back.
        line: of the file that it was read from; not written.
    """

    id: str
    time: float
    labeller: str
    kind: Kind
    request_id: str = ""
    subject_id: str = ""
    candidate_ids: tuple[str, ...] = ()
    question: str = ""
    answer: str = ""
    preferred: str | None = None
    comment: str = ""
    by: str = "random"
    shown: str = ""
    undoes: str = ""
    line: int = 0

    @property
    def pair(self) -> tuple[str, frozenset[str]]:
        """What it is about, whichever stood on the left."""
        return self.request_id, frozenset(self.candidate_ids)


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds: nothing undone, and of what a labeller judged twice the later."""

    answers: tuple[Judgement, ...]
    preferences: tuple[Judgement, ...]
    skipped: tuple[Judgement, ...]

    def every(self) -> Iterator[Judgement]:
        """Answers, preferences and what was skipped."""
        yield from (*self.answers, *self.preferences, *self.skipped)


def standing(rows: Sequence[Judgement]) -> Standing:
    """What holds of the rows of a file, in its order."""
    # Only one's own, so that nobody takes back what another said.
    undone = {(row.labeller, row.undoes) for row in rows if row.kind == "undo"}
    latest: dict[Any, Judgement] = {}
    for row in rows:
        if row.kind == "undo" or (row.labeller, row.id) in undone:
            continue
        key = row.labeller, row.pair, row.question, len(row.candidate_ids)
        latest.pop(key, None)  # it takes the place of the later one
        latest[key] = row
    of_kind: dict[str, list[Judgement]] = {"answer": [], "preference": [], "skip": []}
    for row in latest.values():
        of_kind[row.kind].append(row)
    return Standing(*(tuple(of_kind[kind]) for kind in ("answer", "preference", "skip")))


def line_of(row: Judgement) -> bytes:
    """A row as a line of JSON; what is empty is left out.

    Raises:
        InputError: reading would not give it back, as with half of a character in a comment.
    """
    blank = {each.name: each.default for each in fields(Judgement)}
    given = {name: value for name, value in asdict(row).items() if value != blank[name]}
    given.pop("line", None)
    if row.kind == "preference":
        given["preferred"] = row.preferred  # null says that neither is
    line = json.dumps(given, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if row_of(line) != replace(row, line=0):
        raise InputError("no judgement (a text that cannot be kept as it is)")
    return line + b"\n"


def row_of(line: bytes) -> Judgement:
    """A row from its line.

    Raises:
        InputError: no judgement; the message has no place yet.
    """
    from pydantic import ValidationError

    try:
        row = _adapter().validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise InputError(f"no judgement ({said})") from None
    assert isinstance(row, Judgement)
    if problem := next(problems(row), None):
        raise InputError(f"no judgement ({problem})")
    return row


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Judgement)


def problems(row: Judgement) -> Iterator[str]:
    """What is wrong with a row, whoever wrote it."""
    ids: Iterable[str] = (row.id, row.request_id, row.subject_id, row.undoes, *row.candidate_ids)
    if not row.id or any(len(each) > LONGEST_ID for each in ids):
        yield f"an id that is empty or has more than {LONGEST_ID:,} characters"
    if not 0 <= row.time < _LATEST:
        yield "time: unix seconds"
    name = row.labeller
    if not name.strip() or name != name.strip() or len(name) > LONGEST_NAME:
        yield f"labeller: a name of 1 to {LONGEST_NAME} characters"
    elif not name.isprintable():
        yield "labeller: a name of one line"
    if len(row.comment) > LONGEST_COMMENT:
        yield f"comment: more than {LONGEST_COMMENT:,} characters"
    if row.kind == "undo":
        if not row.undoes:
            yield "undoes: the id of a judgement"
        return
    if not row.request_id or not all(row.candidate_ids):
        yield "request_id and candidate_ids: say what is judged"
    wanted = {"answer": (1,), "preference": (2,), "skip": (1, 2)}[row.kind]
    if len(set(row.candidate_ids)) not in wanted or len(row.candidate_ids) not in wanted:
        yield f"candidate_ids: {' or '.join(map(str, wanted))} of a request for kind {row.kind}"
    if row.kind == "answer" and not (row.question and row.answer):
        yield "question and answer: what was said"
    if row.kind == "preference" and row.preferred not in (None, *row.candidate_ids):
        yield "preferred: a candidate of the pair, or null"
