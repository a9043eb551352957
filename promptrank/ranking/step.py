"""What a step is: ``Ranking -> Ranking``, with a trace of what it changed and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from promptrank.errors import ErrorRow
from promptrank.ranking.ranking import Change, Ranking


@dataclass(frozen=True, slots=True)
class Rescore:
    """What a step says of one candidate.

    Attributes:
        score: the new one.
        probability: P(relevant), where the new score has one.
        why: the reason, in words.
    """

    score: float
    probability: float | None
    why: str


class Step(Protocol):
    """Changes a ranking after the method has scored it."""

    @property
    def name(self) -> str:
        """As it stands in traces."""
        ...

    def __call__(self, ranking: Ranking) -> Ranking:
        """The ranking after this step; use `rescored`, which keeps the trace."""
        ...


def rescored(
    ranking: Ranking, step: str, said: Mapping[str, Rescore], errors: Sequence[ErrorRow] = ()
) -> Ranking:
    """The ranking by new scores; ties keep the order before.

    Args:
        step: the step's name, for the trace.
        said: candidate -> what the step says of it; a candidate without an entry is left out, and
            is to be among ``errors``.
    """
    kept = [scored for scored in ranking.scored if scored.candidate_id in said]
    order = sorted(kept, key=lambda scored: -said[scored.candidate_id].score)
    after = []
    for rank, scored in enumerate(order, 1):
        new = said[scored.candidate_id]
        change = Change(step, scored.score, scored.rank, new.why)
        after.append(
            replace(
                scored,
                score=new.score,
                probability=new.probability,
                rank=rank,
                changes=(*scored.changes, change),
            )
        )
    return replace(
        ranking,
        scored=tuple(after),
        partial=ranking.partial or len(after) < len(ranking.scored),
        errors=(*ranking.errors, *errors),
    )
