"""``boost``: adds to the score where an expression holds, or multiplies it."""

from promptrank.policy.conditions import Condition, candidates_of
from promptrank.policy.policy_step import StepPlace
from promptrank.prompt.field_expression import shortened
from promptrank.ranking.ranking import Ranking
from promptrank.ranking.step import rearranged
from promptrank.schema.policy_steps import Boost


class BoostStep:
    """New scores, and the order by them; ties keep the order before.

    P(relevant) stays: a policy prefers a candidate, and makes it no more relevant.
    """

    def __init__(self, options: Boost, placed: StepPlace) -> None:
        self.name = placed.name
        self.condition = Condition(options.where, placed.at("where"))
        self.expressions = (self.condition,)
        self._add, self._factor = options.add or 0.0, options.multiply or 1.0
        sign = f"{options.add:+g}" if options.add is not None else f"x {options.multiply:g}"
        self._why = f"score {sign}: {shortened(options.where)}"

    def __call__(self, ranking: Ranking) -> Ranking:
        """The ranking by the scores after it."""
        names = [scored.candidate_id for scored in ranking.scored]
        holds = self.condition.holds(ranking.request, candidates_of(ranking.request, names))
        new = {
            scored.candidate_id: scored.score * self._factor + self._add
            for scored, held in zip(ranking.scored, holds, strict=True)
            if held
        }
        order = sorted(ranking.scored, key=lambda s: -new.get(s.candidate_id, s.score))
        return rearranged(ranking, self.name, order, dict.fromkeys(new, self._why), new)
