"""What a policy makes of scores that are there: its order as scores, without asking a model again.

A metric orders by scores, and most steps change the order and not the scores. So each place of a
request gets a score: the k-th place the k-th highest of the request's own scores, and what was
taken out one below all places, all of it alike: a relevant candidate that a filter takes out counts
as one that nobody will see, and never as none. Where no step did anything the scores are the
ranker's own, ties included.

Candidates with equal scores come before the steps in the order of a hash of their ids, since the
order of a request may know the labels; where no step touched them they are equal afterwards too.
"""

import math
from collections.abc import Iterable, Sequence

from promptrank.policy.drawn_orders import uniform
from promptrank.policy.policy_step import PolicyRun
from promptrank.prompt.budget import Cuts
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.records import Request
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Key, Scores, scores_of


def policy_scores(
    steps: Sequence[PolicyRun], requests: Iterable[Request], scores: Scores, name: str
) -> Scores:
    """The order that steps make of a ranker's scores; no probabilities, for an order has none.

    Args:
        steps: without one that explores, whose order is a draw.
        name: of what comes out, for reports.
    """
    keys: list[Key] = []
    values: list[float | None] = []
    for request in requests:
        names = [candidate.candidate_id for candidate in request.candidates]
        rows = scores.rows((request.request_id, each) for each in names)
        given = dict(zip(names, scores.at("score", rows).tolist(), strict=True))
        ranking = _ranking(request, {n: v for n, v in given.items() if not math.isnan(v)})
        for step in steps:
            ranking = step(ranking)
        made = place_scores(ranking)
        keys += [(request.request_id, each) for each in names]
        values += [made.get(each) for each in names]
    return scores_of(keys, values, None, Origin(name, task=scores.origin.task))


def _ranking(request: Request, given: dict[str, float]) -> Ranking:
    items = {c.candidate_id: c.item.item_id for c in request.candidates}
    order = sorted(given, key=lambda each: (-given[each], uniform(request.request_id, each)))
    scored = tuple(
        Scored(each, items[each], given[each], rank, None, given[each], {})
        for rank, each in enumerate(order, 1)
    )
    subject = request.subject.subject_id
    return Ranking(request.request_id, subject, scored, False, (), Cuts(), request)


def place_scores(ranking: Ranking) -> dict[str, float]:
    """Candidate -> the score of its place; see the module's docstring."""
    every = (*ranking.scored, *ranking.removed)
    highest = sorted((scored.score for scored in every), reverse=True)
    made: dict[str, float] = {}
    above: Scored | None = None
    for scored, score in zip(ranking.scored, highest, strict=False):
        if above is None:
            value = score
        elif _alike(above, scored):
            value = made[above.candidate_id]
        else:
            value = min(score, math.nextafter(made[above.candidate_id], -math.inf))
        made[scored.candidate_id], above = value, scored
    if ranking.removed:
        below = highest[-1]
        if above is not None:
            below = min(below, math.nextafter(made[above.candidate_id], -math.inf))
        made |= dict.fromkeys((scored.candidate_id for scored in ranking.removed), below)
    return made


def _alike(above: Scored, below: Scored) -> bool:
    """Whether two neighbours have one score, and no step has put them where they are."""
    return above.score == below.score and not above.changes and not below.changes
