"""What one start of a run does: tokens that are asked, what caches had, errors, seconds.

What depends on requests alone (`TokenCounts`) is part of a shard. What is measured (`Throughput`)
is of this start only, and stands in no file of the run, which would else differ from an unbroken
one's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from promptrank.engine.contract import Caching, Ids, Tree, TreeScore
from promptrank.ranking.method import Work
from promptrank.ranking.ranking import Ranking
from promptrank.runs.cache_use import CacheUse
from promptrank.runs.planning import shared_length, unique_tokens
from promptrank.runtime.opened import Opened

if TYPE_CHECKING:
    from promptrank.runs.shards import ShardCounts

_CACHE = "prefix_tokens"
"""The cache of engines that keep prefixes of prompts, counted in tokens."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of prompts, as `promptrank.runs.planning.Tokens` counts them.

    Attributes:
        tokens: of all prompts, each by itself.
        unique: each computed once for its request, and the instruction never.
        shared: of ``tokens``, those that stood at the beginning of a prompt asked before: by the
            same request, or by the one before it. What an engine can have of them that keeps
            prefixes.
    """

    tokens: int = 0
    unique: int = 0
    shared: int = 0

    def plus(self, other: "TokenCounts") -> "TokenCounts":
        """Both together."""
        return TokenCounts(
            self.tokens + other.tokens, self.unique + other.unique, self.shared + other.shared
        )


class AskedTokens:
    """A `promptrank.ranking.loop.Watch` that counts the tokens of each request's prompts."""

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self._by_request: dict[str, TokenCounts] = {}
        self._before: tuple[str | None, tuple[int, ...]] = (None, ())

    def of(self, request_id: str) -> TokenCounts:
        """Of one request; nothing where none of it could be asked, or no prompts are read."""
        return self._by_request.get(request_id, TokenCounts())

    def __call__(self, works: Sequence[Work], results: Sequence["Future[TreeScore]"]) -> None:
        """Count works that are submitted, in the order in which they are asked."""
        for work in works:
            if isinstance(work, Tree):
                counted = self.of(work.tree_id).plus(self._counted(work))
                self._by_request[work.tree_id] = counted

    def _counted(self, tree: Tree) -> TokenCounts:
        prefix = tuple(tree.prefix)
        adapter, before = self._before
        there = shared_length(before, prefix) if adapter == (tree.adapter or "") else 0
        self._before = (tree.adapter or "", prefix)
        asked = [(branch.ids, slot) for branch in tree.branches for slot in branch.slots]
        ends = [(*ids, *slot.ids) for ids, slot in asked]
        tokens = sum(len(prefix) + len(end) for end in ends)
        own = alone = unique_tokens(ends)
        if any(len(path) > 1 for _, slot in asked for path in slot.paths):
            own = unique_tokens(_paths(asked))
        fresh = len(prefix) - there + alone if ends else 0
        return TokenCounts(tokens, len(prefix) - tree.shared + own, tokens - fresh)


def _paths(asked: Sequence[tuple[Ids, Any]]) -> list[tuple[int, ...]]:
    return [(*ids, *slot.ids, *path[:-1]) for ids, slot in asked for path in slot.paths]


@dataclass(slots=True)
class Throughput:
    """What one start has done so far; it changes while the run goes on, from the run's thread.

    Attributes:
        taken_over: requests of shards that an earlier start had done.
        requests: that were read and have their rows now, with those of ``reused``.
        reused: requests whose scores came from another run.
        candidates: of ``requests``.
        tokens: of the prompts that were asked.
        errors: reason -> error rows.
        prompt_tokens: that the engine read, by its own count; 0 where it does not tell.
        cached_tokens: those of them that its prefix cache had.
        cache: prompts that the score cache had, and that the model was asked; None without one.
        seconds: from the first request to the end; 0 until then.
    """

    taken_over: int = 0
    requests: int = 0
    reused: int = 0
    candidates: int = 0
    tokens: TokenCounts = field(default_factory=TokenCounts)
    errors: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache: CacheUse | None = None
    seconds: float = 0.0

    def add(self, ranking: Ranking, tokens: TokenCounts) -> None:
        """A request was ranked."""
        self.requests += 1
        self.candidates += len(ranking.scored) + len(ranking.removed)
        self.tokens = self.tokens.plus(tokens)
        self.errors.update(row.reason for row in ranking.errors)

    def add_shard(self, counted: "ShardCounts") -> None:
        """A shard was ranked somewhere else."""
        self.requests += counted.requests
        self.reused += counted.reused
        self.candidates += counted.scored + counted.removed
        self.tokens = self.tokens.plus(
            TokenCounts(counted.tokens, counted.unique_tokens, counted.shared_tokens)
        )
        self.errors.update(counted.reasons)

    @property
    def cached_share(self) -> float | None:
        """Share of the prompts' tokens that the engine's prefix cache had; None if not told."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "seconds": self.seconds,
            "requests": self.requests,
            "taken_over": self.taken_over,
            "reused": self.reused,
            "candidates": self.candidates,
            "tokens": self.tokens.tokens,
            "unique_tokens": self.tokens.unique,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "cached_share": self.cached_share,
            "cache_hits": self.cache.hits if self.cache is not None else 0,
            "cache_asked": self.cache.asked if self.cache is not None else 0,
        }


def prefix_cache(opened: Opened[Any]) -> tuple[int, int]:
    """Tokens of prompts that the engine has read so far, and those that its prefix cache had."""
    caches: Mapping[str, tuple[int, int]] = {}
    if isinstance(opened.engine, Caching):
        caches = opened.engine.caches
    had, had_not = caches.get(_CACHE, (0, 0))
    return had + had_not, had
