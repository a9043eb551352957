"""``filter``: takes out candidates for which an expression does not hold, or does."""

from promptrank.policy.conditions import Condition, candidates_of
from promptrank.policy.policy_step import StepPlace
from promptrank.prompt.field_expression import shortened
from promptrank.ranking.ranking import Ranking
from promptrank.ranking.step import rearranged
from promptrank.schema.policy_steps import Filter


class FilterStep:
    """Keeps what holds, or drops it; the rest moves up."""

    def __init__(self, options: Filter, placed: StepPlace) -> None:
        self.name, self.keeps = placed.name, options.keep is not None
        key = "keep" if self.keeps else "drop"
        self.condition = Condition(options.keep or options.drop or "", placed.at(key))
        self.expressions = (self.condition,)
        short = shortened(self.condition.text)
        self._why = f"taken out: {short} does not hold" if self.keeps else f"taken out: {short}"

    def __call__(self, ranking: Ranking) -> Ranking:
        """The ranking without what is filtered."""
        names = [scored.candidate_id for scored in ranking.scored]
        holds = self.condition.holds(ranking.request, candidates_of(ranking.request, names))
        order = [s for s, held in zip(ranking.scored, holds, strict=True) if held == self.keeps]
        gone = {n: self._why for n, held in zip(names, holds, strict=True) if held != self.keeps}
        return rearranged(ranking, self.name, order, gone)
