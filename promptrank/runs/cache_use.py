"""How much of a run came from the score cache."""

from dataclasses import dataclass
from typing import Any

from promptrank.caching.cached_engine import SCORES
from promptrank.engine.contract import Caching
from promptrank.runtime.opened import Opened


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Prompts, one for each candidate and question.

    Attributes:
        hits: answered from the cache.
        asked: of the model.
    """

    hits: int
    asked: int


def cache_use(opened: Opened[Any], before: CacheUse | None = None) -> CacheUse | None:
    """What an engine has counted, since it was opened or since ``before``; None without a cache."""
    counted = opened.engine.caches.get(SCORES) if isinstance(opened.engine, Caching) else None
    if counted is None:
        return None
    hits, asked = counted
    return (
        CacheUse(hits, asked)
        if before is None
        else CacheUse(hits - before.hits, asked - before.asked)
    )


def both_uses(use: CacheUse | None, other: CacheUse | None) -> CacheUse | None:
    """Together; None without a cache."""
    if use is None or other is None:
        return use or other
    return CacheUse(use.hits + other.hits, use.asked + other.asked)
