"""``cap``: at most so many candidates of one value, in the whole list or in its first places."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from promptrank.policy.conditions import CandidateExpression, candidates_of
from promptrank.policy.policy_step import StepPlace
from promptrank.prompt.field_expression import shortened
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.ranking.step import rearranged
from promptrank.schema.policy_steps import Cap

_Values = Mapping[str, tuple[Hashable, ...]]  # candidate -> its values


class CapStep:
    """Goes down the list and takes what is not too many; earlier caps go on holding.

    With ``first``, what is too many stands below these places in its order. Where nothing else is
    left to fill them, it fills them after all: a list never becomes shorter for that. Without
    ``first`` it is taken out.
    """

    def __init__(self, options: Cap, placed: StepPlace) -> None:
        self.name, self.most, self.first = placed.name, options.most, options.first
        self.by = CandidateExpression(options.by, placed.at("by"))
        self.expressions = (self.by,)
        self._with = [step for step in placed.before if isinstance(step, CapStep)]
        within = f" in the first {options.first}" if options.first is not None else ""
        self._why = f"more than {options.most} of one {shortened(options.by)}{within}"

    def __call__(self, ranking: Ranking) -> Ranking:
        """The ranking with the cap."""
        stay, gone = list(ranking.scored), set[str]()
        if self.first is None:
            gone = _too_many(stay, self._values(ranking), self.most)
            stay = [scored for scored in stay if scored.candidate_id not in gone]
        caps = [cap for cap in (*self._with, self) if cap.first is not None]
        order, held_back = _filled(stay, caps, [cap._values(ranking) for cap in caps])
        why = dict.fromkeys(gone, f"taken out: {self._why}")
        why |= {
            scored.candidate_id: f"down: {self._why}"
            for place, scored in enumerate(order, 1)
            if scored.candidate_id in held_back and place > scored.rank
        }
        return rearranged(ranking, self.name, order, why)

    def _values(self, ranking: Ranking) -> _Values:
        names = [scored.candidate_id for scored in ranking.scored]
        values = self.by.values(ranking.request, candidates_of(ranking.request, names))
        return {name: _each(value) for name, value in zip(names, values, strict=True)}


def _too_many(scored: Sequence[Scored], values: _Values, most: int) -> set[str]:
    counts, gone = Counter[Hashable](), set[str]()
    for each in scored:
        own = values[each.candidate_id]
        if any(counts[value] >= most for value in own):
            gone.add(each.candidate_id)
        else:
            counts.update(own)
    return gone


def _filled(
    scored: Sequence[Scored], caps: Sequence[CapStep], values: Sequence[_Values]
) -> tuple[list[Scored], set[str]]:
    """The list place by place, each with the first that no cap stands against; and whom one did."""
    counts = [Counter[Hashable]() for _ in caps]
    left, order, held_back = list(scored), list[Scored](), set[str]()
    for place in range(1, max((cap.first or 0 for cap in caps), default=0) + 1):
        if not left:
            break
        at = next((i for i, s in enumerate(left) if not _full(s, place, caps, counts, values)), 0)
        held_back.update(each.candidate_id for each in left[:at])
        order.append(left.pop(at))
        for count, value in zip(counts, values, strict=True):
            count.update(value[order[-1].candidate_id])
    return [*order, *left], held_back


def _full(
    scored: Scored,
    place: int,
    caps: Sequence[CapStep],
    counts: Sequence[Counter[Hashable]],
    values: Sequence[_Values],
) -> bool:
    return any(
        place <= (cap.first or 0) and any(count[v] >= cap.most for v in value[scored.candidate_id])
        for cap, count, value in zip(caps, counts, values, strict=True)
    )


def _each(value: Any) -> tuple[Hashable, ...]:
    """The values that count: each of a list's once; none of what is empty or an object."""
    given = value if isinstance(value, list | tuple) else [value]
    plain = [v for v in given if isinstance(v, str | int | float) and v == v]
    return tuple(dict.fromkeys(plain))
