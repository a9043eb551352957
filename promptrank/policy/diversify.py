"""``diversify``: fills the first places with what scores high and differs, by pyversity."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.policy.conditions import CandidateExpression, candidates_of
from promptrank.policy.policy_step import StepPlace
from promptrank.prompt.field_expression import shortened
from promptrank.ranking.ranking import Ranking
from promptrank.ranking.step import rearranged
from promptrank.schema.policy_steps import Diversify

MOST_WORDS = 20
"""So many words of a value count, which bounds what a long text can cost."""
_LARGEST = 1e100  # whose square is still a number


class DiversifyStep:
    """Picks the first places from all candidates; the others follow in their order.

    Scores go into it as they lie between the lowest (0) and the highest (1) of the request, so that
    ``diversity`` means the same whatever the unit of a score. No model runs: a vector is a list of
    numbers that the field brings, or one-hot.
    """

    def __init__(self, options: Diversify, placed: StepPlace) -> None:
        self.name, self.options = placed.name, options
        self.by = CandidateExpression(options.by, placed.at("by"))
        self.expressions = (self.by,)
        self._why = f"{options.strategy} over {shortened(options.by)}"

    def __call__(self, ranking: Ranking) -> Ranking:
        """The ranking with other first places."""
        from pyversity import diversify

        if len(ranking.scored) < 2 or not self.options.diversity:
            return ranking
        names = [scored.candidate_id for scored in ranking.scored]
        values = self.by.values(ranking.request, candidates_of(ranking.request, names))
        vectors = vectors_of(values, self.options.split)
        if vectors is None:
            return ranking
        chosen = diversify(
            vectors,
            _between(np.array([scored.score for scored in ranking.scored])),
            k=min(self.options.first, len(names)),
            strategy=self.options.strategy,
            diversity=self.options.diversity,
        )
        # A strategy that finds nothing more to tell apart may give fewer, never one twice.
        order = list(dict.fromkeys(int(place) for place in chosen.indices))
        order += [place for place in range(len(names)) if place not in set(order)]
        why = {
            names[place]: f"place {rank} by {self._why}"
            for rank, place in enumerate(order[: self.options.first], 1)
            if rank != place + 1
        }
        return rearranged(ranking, self.name, [ranking.scored[place] for place in order], why)


def _between(scores: Floats) -> Floats:
    """Scores between 0 (the lowest) and 1; all 0 where they are equal."""
    low, high = scores.min(), scores.max()
    spread: Floats = (scores - low) / (high - low) if high > low else np.zeros(len(scores))
    return spread


def vectors_of(values: Sequence[Any], split: str | None) -> Floats | None:
    """(candidates, dimensions) vectors; None where no candidate has a value.

    Lists of numbers of one length are vectors as they are. Where any value is something else, every
    value is words, one dimension a word. What has no value is all 0: unlike all others. Every other
    vector has length 1.
    """
    numbers = [v for v in values if isinstance(v, list | tuple) and v and all(map(_number, v))]
    lengths = {len(v) for v in numbers}
    given = [v for v in values if v is not None]
    if given and len(numbers) == len(given) and len(lengths) == 1:
        vectors = np.zeros((len(values), lengths.pop()))
        for row, value in enumerate(values):
            if value is not None:
                vectors[row] = value
        return _unit(vectors)
    words = [_words(value, split) for value in values]
    column = {w: i for i, w in enumerate(dict.fromkeys(w for each in words for w in each))}
    if not column:
        return None
    vectors = np.zeros((len(values), len(column)))
    for row, each in enumerate(words):
        vectors[row, [column[word] for word in each]] = 1.0
    return _unit(vectors)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def _number(value: Any) -> bool:
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return whole and -_LARGEST < value < _LARGEST  # which NaN is not


def _words(value: Any, split: str | None) -> Sequence[Hashable]:
    if isinstance(value, str) and split is not None:
        value = [part.strip() for part in value.split(split)]
    given = value if isinstance(value, list | tuple) else [value]
    words = [v for v in given if isinstance(v, str | int | float) and v == v and v != ""]
    return list(dict.fromkeys(words))[:MOST_WORDS]
