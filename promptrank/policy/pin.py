"""``pin``: puts candidates for which an expression holds at a place."""

from dataclasses import replace

from promptrank.policy.conditions import Condition, candidates_of
from promptrank.policy.policy_step import StepPlace
from promptrank.prompt.field_expression import shortened
from promptrank.ranking.ranking import Ranking
from promptrank.ranking.step import rearranged
from promptrank.schema.policy_steps import Pin


class PinStep:
    """The best of them at the place, the next ones below; what is pinned already stays there.

    Where the place is taken by an earlier pin, the next free one below it is meant; beyond the end
    of the list, the last free one.
    """

    def __init__(self, options: Pin, placed: StepPlace) -> None:
        self.name, self.place, self.most = placed.name, options.place, options.most
        self.condition = Condition(options.where, placed.at("where"))
        self.expressions = (self.condition,)
        self._short = shortened(options.where)

    def __call__(self, ranking: Ranking) -> Ranking:
        """The ranking with the pins."""
        names = [scored.candidate_id for scored in ranking.scored]
        holds = self.condition.holds(ranking.request, candidates_of(ranking.request, names))
        wanted = [
            scored
            for scored, held in zip(ranking.scored, holds, strict=True)
            if held and scored.candidate_id not in ranking.pinned
        ][: self.most]
        if not wanted:
            return ranking
        at = {s.rank: s for s in ranking.scored if s.candidate_id in ranking.pinned}
        why = {}
        for scored in wanted:
            free = [place for place in range(1, len(names) + 1) if place not in at]
            place = next((place for place in free if place >= self.place), free[-1])
            at[place] = scored
            why[scored.candidate_id] = f"pinned to place {place}: {self._short}"
        taken = {scored.candidate_id for scored in at.values()}
        others = iter([s for s in ranking.scored if s.candidate_id not in taken])
        order = [at.get(place) or next(others) for place in range(1, len(names) + 1)]
        after = rearranged(ranking, self.name, order, why)
        return replace(after, pinned=ranking.pinned | why.keys())
