"""How many tokens requests come to, and what it takes to score them at a given rate."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from promptrank.engine.contract import Tree

GPUS = (1, 8, 100)
"""For so many it is told how long it takes."""
_HOUR, _DAY = 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Tokens:
    """How much there is to score.

    Attributes:
        requests, candidates: that there are; those of whom nothing can be asked too.
        prompts: one for each candidate and question.
        tokens: of these prompts, each by itself, without the answer.
        unique: tokens of a request that several of its prompts begin with count once, and those
            of the instruction not at all; of answers, all but the last token.
        instruction: tokens that all requests begin with.
    """

    requests: float = 0
    candidates: float = 0
    prompts: float = 0
    tokens: float = 0
    unique: float = 0
    instruction: int = 0

    def plus(self, candidates: int, tree: Tree | None) -> "Tokens":
        """With a request of so many candidates; None for a tree where nothing can be asked."""
        if tree is None:
            return self.scaled_to(self.requests + 1, self.candidates + candidates, 1.0)
        prompts = [(branch.ids, slot) for branch in tree.branches for slot in branch.slots]
        prefix = len(tree.prefix)
        own = unique_tokens(
            (*ids, *slot.ids, *path[:-1]) for ids, slot in prompts for path in slot.paths
        )
        return Tokens(
            self.requests + 1,
            self.candidates + candidates,
            self.prompts + len(prompts),
            self.tokens + sum(prefix + len(ids) + len(slot.ids) for ids, slot in prompts),
            self.unique + prefix - tree.shared + own,
            tree.shared,
        )

    def scaled_to(self, requests: float, candidates: float, factor: float) -> "Tokens":
        """So many requests and candidates; of all that they hold, this many times as much."""
        return Tokens(
            requests,
            candidates,
            self.prompts * factor,
            self.tokens * factor,
            self.unique * factor,
            self.instruction,
        )

    def of_requests(self, requests: int) -> "Tokens":
        """As much as so many requests of the same kind are likely to be."""
        factor = requests / self.requests
        return self.scaled_to(requests, self.candidates * factor, factor)

    def of_candidates(self, candidates: int) -> "Tokens":
        """As much as so many candidates of such requests are likely to be."""
        factor = candidates / self.candidates
        return self.scaled_to(self.requests * factor, candidates, factor)

    @property
    def computed(self) -> float:
        """Tokens that are computed: the unique ones, and the instruction once."""
        return self.unique + self.instruction


def together(parts: Iterable[Tokens]) -> Tokens:
    """What several runs come to; each computes its instruction once."""
    whole = Tokens()
    for part in parts:
        whole = Tokens(
            whole.requests + part.requests,
            whole.candidates + part.candidates,
            whole.prompts + part.prompts,
            whole.tokens + part.tokens,
            whole.unique + part.unique,
            whole.instruction + part.instruction,
        )
    return whole


def unique_tokens(paths: Iterable[tuple[int, ...]]) -> int:
    """Tokens of paths where those count once that several begin with: the nodes of their trie."""
    total, before = 0, tuple[int, ...]()
    for path in sorted(paths):
        total, before = total + len(path) - shared_length(before, path), path
    return total


def shared_length(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many tokens both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # slices are compared much faster than tokens
        half = (low + high + 1) // 2
        if one[low:half] == other[low:half]:
            low = half
        else:
            high = half - 1
    return low


@dataclass(frozen=True, slots=True)
class Needed:
    """What scoring takes.

    Attributes:
        tokens: how much there is to score.
        rate: unique tokens a second of one GPU.
        price: of an hour of one GPU; None where it is not known.
    """

    tokens: Tokens
    rate: float
    price: float | None

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU."""
        return self.tokens.computed / self.rate / _HOUR

    @property
    def hours(self) -> dict[int, float]:
        """By number of GPUs, hours; shards are ranked by themselves, so GPUs share them evenly."""
        return {count: self.gpu_hours / count for count in GPUS}

    @property
    def cost(self) -> float | None:
        """In the unit of the price; the same for any number of GPUs."""
        return None if self.price is None else self.gpu_hours * self.price

    @property
    def gpus_in_a_day(self) -> int:
        """The least number of GPUs that end within a day."""
        return math.ceil(self.tokens.computed / self.rate / _DAY)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "requests": self.tokens.requests,
            "candidates": self.tokens.candidates,
            "prompts": self.tokens.prompts,
            "tokens": self.tokens.tokens,
            "unique_tokens": self.tokens.computed,
            "gpu_hours": self.gpu_hours,
            "hours": {str(count): hours for count, hours in self.hours.items()},
            "cost": self.cost,
        }
