"""What the shapes of a query and documents share: in as one request, out as indices and scores."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptrank.errors import DataError
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.requests.dicts import UNNAMED
from promptrank.serve.shape import Done, Wanted


@dataclass(frozen=True, slots=True)
class Hit:
    """One document that was scored.

    Attributes:
        index: its place in the body.
        score: P(relevant) in [0, 1] where the task has one question, else the task's score.
    """

    index: int
    score: float

    @property
    def raw(self) -> float:
        """The score as log-odds in nats, where it is a probability."""
        if not 0 < self.score < 1:
            return self.score
        return math.log(self.score / (1 - self.score))


def query_request(query: str, documents: Sequence[str | Mapping[str, Any]]) -> Request:
    """A request of a query; a document is the text of its item, or all fields of it.

    Raises:
        DataError: no documents.
    """
    if not documents:
        raise DataError("documents: none to rank; send at least one")
    candidates = []
    for place, document in enumerate(documents):
        fields = {"text": document} if isinstance(document, str) else document
        candidates.append(Candidate(str(place), Item(str(place), fields)))
    subject = Subject(query_id=query, query={"text": query})
    return Request(UNNAMED, subject, tuple(candidates))


def wanted(
    task: str | None,
    query: str,
    documents: Sequence[str | Mapping[str, Any]],
    *,
    whole: bool = False,
    shown: int | None = None,
) -> Wanted:
    """One request of a query, for a task by name."""
    return Wanted(task, [query_request(query, documents)], whole, shown=shown)


def hits(done: Done, most: int | None = None) -> list[Hit]:
    """The documents that were scored, best first.

    Args:
        most: of them, if it is said.
    """
    (ranking,) = done.rankings
    return [
        Hit(int(s.candidate_id), s.probability if s.probability is not None else s.score)
        for s in ranking.scored[:most]
    ]


def unscored(done: Done) -> list[str]:
    """A sentence for each document that has no score, or that a policy step took out."""
    removed = [
        f"documents[{scored.candidate_id}] is left out: {scored.changes[-1].why}"
        for ranking in done.rankings
        for scored in ranking.removed
    ]
    return removed + [
        f"documents[{row.candidate_id}] has no score: {row.message}"
        for ranking in done.rankings
        for row in ranking.errors
        if row.candidate_id is not None
    ]
