"""How far two labellers agree beyond chance: Cohen's kappa on what both have judged."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from promptrank.requests.judgement_rows import Judgement, Standing


@dataclass(frozen=True, slots=True)
class LabellerAgreement:
    """Two labellers on one question, or on pairs.

    Attributes:
        question: None for choices between two candidates.
        both: what both of them judged.
        same: on how much of it they say the same.
        kappa: Cohen's; None where both gave one and the same answer throughout, for then nothing
            tells agreement from chance.
    """

    labellers: tuple[str, str]
    question: str | None
    both: int
    same: int
    kappa: float | None


def labeller_agreements(held: Standing) -> Iterator[LabellerAgreement]:
    """Every two labellers who judged something in common, those with the most of it first."""
    said: dict[tuple[str | None, Any], dict[str, str]] = defaultdict(dict)
    for row in held.answers:
        said[row.question, row.pair][row.labeller] = row.answer
    for row in held.preferences:
        said[None, row.pair][row.labeller] = _side(row)
    common: dict[tuple[str | None, tuple[str, str]], list[tuple[str, str]]] = defaultdict(list)
    for (question, _), by_labeller in said.items():
        for pair in combinations(sorted(by_labeller), 2):
            common[question, pair].append((by_labeller[pair[0]], by_labeller[pair[1]]))
    for (question, pair), both in sorted(common.items(), key=lambda each: -len(each[1])):
        same = sum(first == second for first, second in both)
        yield LabellerAgreement(pair, question, len(both), same, _kappa(both))


def _side(row: Judgement) -> str:
    """What was preferred, whichever stood on the left."""
    if row.preferred is None:
        return "equal"
    return "first" if row.preferred == min(row.candidate_ids) else "second"


def _kappa(both: list[tuple[str, str]]) -> float | None:
    if len({said for pair in both for said in pair}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    first, second = zip(*both, strict=True)
    return float(cohen_kappa_score(first, second))
