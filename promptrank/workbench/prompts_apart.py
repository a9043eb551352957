"""One request under two versions: both rankings, and which parts of the prompt differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Codes
from promptrank.evaluation.gains import gain_of
from promptrank.prompt.preview import Piece, Preview
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores
from promptrank.workbench.prompt_view import TITLES, titles_of
from promptrank.workbench.text_diff import Row, differing

MOST = 100
"""So many candidates of a request are shown."""


@dataclass(frozen=True, slots=True)
class StoodAt:
    """A candidate's place in a ranking; None throughout where it could not be scored."""

    rank: int | None
    score: float | None
    probability: float | None


@dataclass(frozen=True, slots=True)
class Stood:
    """A candidate under both versions.

    Attributes:
        label: its answers, by question; empty where nothing is known.
        relevant: whether that counts as relevant; None where nothing is known.
        up: by how many places the edit moved it; below 0 for down.
    """

    candidate_id: str
    title: str
    label: str
    relevant: bool | None
    saved: StoodAt
    edit: StoodAt

    @property
    def up(self) -> int:
        if self.saved.rank is None or self.edit.rank is None:
            return 0
        return self.saved.rank - self.edit.rank


@dataclass(frozen=True, slots=True)
class Section:
    """The fragments of one kind in both versions.

    Attributes:
        rows: what differs; none where nothing does.
        before, after: their tokens.
    """

    kind: str
    title: str
    rows: tuple[Row, ...]
    before: int
    after: int


def stood(task: Task, request: Request, saved: Scores, edit: Scores) -> list[Stood]:
    """The candidates of a request in the order of the edit; those without a rank come last."""
    gain, relevant_at = gain_of(task)
    keys = [(request.request_id, c.candidate_id) for c in request.candidates]
    sides = [(each, each.rows(keys)) for each in (saved, edit)]
    titles = titles_of(request)
    made = []
    for place, candidate in enumerate(request.candidates):
        value = gain(candidate)
        old, new = (_placed(scores, rows[place : place + 1]) for scores, rows in sides)
        made.append(
            Stood(
                candidate.candidate_id,
                titles[candidate.candidate_id],
                ", ".join(candidate.outcomes.values()),
                None if value is None else value >= relevant_at,
                old,
                new,
            )
        )
    made.sort(key=lambda each: (each.edit.rank is None, each.edit.rank or 0, each.candidate_id))
    return made[:MOST]


def sections(
    saved: Ranker, edit: Ranker, request: Request, candidate_id: str
) -> list[Section] | None:
    """The parts of one candidate's prompt in both versions, in the order of the prompt.

    None where one of the two has no prompt for it: what it asks about reads fields, or the
    candidate cannot be worded.
    """
    texts = []
    for ranker in (saved, edit):
        if ranker.encoder is None:
            return None
        pieces = _pieces(ranker.encoder.preview(request), candidate_id)
        if pieces is None:
            return None
        texts.append(_by_kind(pieces))
    before, after = texts
    return [
        Section(
            kind,
            TITLES[kind],
            tuple(differing(before.get(kind, ("", 0))[0], after.get(kind, ("", 0))[0], around=1)),
            before.get(kind, ("", 0))[1],
            after.get(kind, ("", 0))[1],
        )
        for kind in dict.fromkeys([*before, *after])
    ]


def most_moved(candidates: Iterable[Stood]) -> str:
    """The candidate that moved farthest; the first where none has."""
    return max(candidates, key=lambda each: abs(each.up)).candidate_id


def _placed(scores: Scores, rows: Codes) -> StoodAt:
    def number(column: str) -> float | None:
        value = float(scores.at(column, rows)[0])
        return None if np.isnan(value) else value

    rank = number("rank")
    return StoodAt(None if rank is None else int(rank), number("score"), number("probability"))


def _pieces(preview: Preview, candidate_id: str) -> list[Piece] | None:
    for candidate in preview.candidates:
        if candidate.candidate_id == candidate_id:
            asked = [piece for question in candidate.questions for piece in question]
            return [*preview.prefix, *candidate.pieces, *asked]
    return None


def _by_kind(pieces: Sequence[Piece]) -> dict[str, tuple[str, int]]:
    """Text and tokens by kind of fragment, in the order of the prompt."""
    made: dict[str, tuple[str, int]] = {}
    for piece in pieces:
        text, tokens = made.get(piece.kind, ("", 0))
        made[piece.kind] = text + piece.text, tokens + len(piece.ids)
    return made
