"""``explore``: draws the order of the first places, and says how probable each place was."""

from collections.abc import Sequence
from dataclasses import replace

from promptrank.basics.arrays import Floats
from promptrank.errors import DataError
from promptrank.policy.conditions import CandidateExpression
from promptrank.policy.drawn_orders import (
    drawn,
    drawn_places,
    log_weights,
    shuffled,
    shuffled_places,
)
from promptrank.policy.policy_step import StepPlace
from promptrank.ranking.ranking import Ranking
from promptrank.ranking.step import rearranged
from promptrank.requests.dicts import UNNAMED
from promptrank.schema.policy_steps import Explore


class ExploreStep:
    """The last step: whatever moved a candidate after it would make its propensity wrong.

    Every candidate of the ranking gets its propensity: that of *this* candidate at *this* place
    given the request, over the draws. Those below the first places, and those that are pinned,
    stand where they stand with certainty. The draw is seeded by the request's id and the salt: the
    same request has the same order wherever it is ranked.
    """

    def __init__(self, options: Explore, placed: StepPlace) -> None:
        self.name, self.options = placed.name, options
        self.expressions: Sequence[CandidateExpression] = ()

    def __call__(self, ranking: Ranking) -> Ranking:
        """The ranking as drawn, with propensities.

        Raises:
            DataError: a request without an id of its own, by which it could be drawn.
        """
        if ranking.request_id == UNNAMED:
            raise DataError(
                "request_id: missing, and the task explores: the order is drawn by the request's "
                "id; give each request one"
            )
        first = ranking.scored[: self.options.first]
        free = [scored for scored in first if scored.candidate_id not in ranking.pinned]
        if not free:
            return _certain(ranking)
        by_name = {scored.candidate_id: scored for scored in free}
        names, places = self._drawn(ranking, list(by_name), [scored.score for scored in free])
        chance = {name: float(places[row, names.index(name)]) for row, name in enumerate(by_name)}
        following = iter(names)
        order = [
            by_name[next(following)] if scored.candidate_id in by_name else scored
            for scored in first
        ]
        why = {
            name: f"drawn to place {scored.rank} with probability {chance[name]:.4g}"
            for name, scored in zip(names, free, strict=True)
            if name != scored.candidate_id
        }
        moved = rearranged(ranking, self.name, [*order, *ranking.scored[self.options.first :]], why)
        return _certain(moved, chance)

    def _drawn(
        self, ranking: Ranking, names: Sequence[str], scores: Sequence[float]
    ) -> tuple[list[str], Floats]:
        """Names as drawn, and (names as given, places) probabilities."""
        seed = (self.options.salt, ranking.request_id)
        if self.options.epsilon is not None:
            order = shuffled(names, self.options.epsilon, seed)
            return order, shuffled_places(len(names), self.options.epsilon)
        logs = log_weights(scores, self.options.temperature or 1.0)
        return drawn(names, logs, seed), drawn_places(logs)


def _certain(ranking: Ranking, chance: dict[str, float] | None = None) -> Ranking:
    """With propensities; 1 where nothing was drawn."""
    given = chance or {}
    scored = (replace(s, propensity=given.get(s.candidate_id, 1.0)) for s in ranking.scored)
    return replace(ranking, scored=tuple(scored))
