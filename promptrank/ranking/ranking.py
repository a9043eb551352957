"""A ranking: one request's result, and what was changed in it on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from promptrank.errors import ErrorRow
from promptrank.prompt.budget import Cuts
from promptrank.ranking.answered import Answered
from promptrank.records import Request


@dataclass(frozen=True, slots=True)
class Change:
    """What one step did to one candidate.

    Attributes:
        step: its name, such as ``fusion``.
        score, rank: before it.
        why: in words, for a person.
    """

    step: str
    score: float
    rank: int
    why: str


@dataclass(frozen=True, slots=True)
class Scored:
    """One candidate with its score and its place (1 is best) in the ranking.

    Attributes:
        score: the final one; larger is better.
        probability: P(relevant) in [0, 1] where the score has one, as with a single question.
        method_score: what the method itself said, before any step.
        questions: what was answered to each question.
        shortened: fields of the candidate that the budget shortened.
        changes: what each step did, in the order in which they ran.
        prompt_tokens: how long its prompt is; None where nothing reads one.
        propensity: probability with which an exploring step puts this candidate at this place,
            given the request, in (0, 1]; None where no step explores.
    """

    candidate_id: str
    item_id: str
    score: float
    rank: int
    probability: float | None
    method_score: float
    questions: Mapping[str, Answered]
    shortened: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    prompt_tokens: int | None = None
    propensity: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """A request's candidates, best first.

    Attributes:
        partial: True where a candidate was lost on the way; ``errors`` says which and why.
        cuts: what the budget left out.
        request: the request that was ranked.
        removed: candidates that a step took out, with the score and the rank that they had then;
            the last of their changes says which step and why. They are not lost: nothing of them is
            in ``errors``, and scores files hold them, without a rank.
        pinned: ids of candidates that a step has put at a place, which later ones leave there.
    """

    request_id: str
    subject_id: str
    scored: tuple[Scored, ...]
    partial: bool
    errors: tuple[ErrorRow, ...]
    cuts: Cuts
    request: Request = field(repr=False)
    removed: tuple[Scored, ...] = ()
    pinned: frozenset[str] = frozenset()
