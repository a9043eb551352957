"""What a step is: ``Ranking -> Ranking``, with a trace of what it changed and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

from promptrank.errors import ErrorRow
from promptrank.ranking.ranking import Change, Ranking, Scored


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
        """The ranking after this step; `rescored` and `rearranged` keep the trace."""
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


def rearranged(
    ranking: Ranking,
    step: str,
    order: Sequence[Scored],
    why: Mapping[str, str],
    scores: Mapping[str, float] = MappingProxyType({}),
) -> Ranking:
    """The ranking in another order; whoever is not in it is taken out, and is among ``removed``.

    Only what changes is in the trace: a candidate that got another rank or score, was taken out, or
    has a reason. A step that had nothing to do gives the very ranking back.

    Args:
        order: those that stay, best first, as they were.
        why: candidate -> why the step did what it did; others only made room.
        scores: candidate -> its new score, where it has one. P(relevant) stays what it was.
    """
    after, changed = [], False
    for rank, scored in enumerate(order, 1):
        name = scored.candidate_id
        score = scores.get(name, scored.score)
        if name not in why and (score, rank) == (scored.score, scored.rank):
            after.append(scored)
            continue
        changed = True
        change = Change(step, scored.score, scored.rank, why.get(name) or _moved(scored.rank, rank))
        after.append(replace(scored, score=score, rank=rank, changes=(*scored.changes, change)))
    stay = {scored.candidate_id for scored in order}
    gone = [
        replace(s, changes=(*s.changes, Change(step, s.score, s.rank, why[s.candidate_id])))
        for s in ranking.scored
        if s.candidate_id not in stay
    ]
    if not changed and not gone:
        return ranking
    return replace(ranking, scored=tuple(after), removed=(*ranking.removed, *gone))


def _moved(before: int, after: int) -> str:
    places = abs(before - after)
    side = "up" if after < before else "down"
    return f"{places} place{'s' * (places > 1)} {side}, as others moved"
