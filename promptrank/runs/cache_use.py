"""How much of a run came from the score cache."""

from dataclasses import dataclass

from promptrank.caching.cached_engine import SCORES
from promptrank.engine.contract import Caching
from promptrank.ranking.ranker import Ranker


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Prompts, one for each candidate and question.

    Attributes:
        hits: answered from the cache.
        asked: of the model.
    """

    hits: int
    asked: int


def cache_use(ranker: Ranker) -> CacheUse | None:
    """What a ranker's engine has counted since it was opened; None without a cache."""
    engine = ranker.opened.engine
    counted = engine.caches.get(SCORES) if isinstance(engine, Caching) else None
    return CacheUse(*counted) if counted is not None else None
