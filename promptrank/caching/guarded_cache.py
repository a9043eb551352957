"""A score cache that may fail: what is wrong is said once, and whoever asks goes on without it."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from promptrank.basics.telling import Say
from promptrank.caching.prompt_keys import Answerer
from promptrank.caching.score_cache import ScoreCache
from promptrank.engine.contract import SlotScore
from promptrank.errors import DataError

T = TypeVar("T")
Kept = tuple[bytes, str | None, SlotScore]
"""A key, the id of whom it was asked for, and the answer."""

_PAUSE = 60.0  # seconds without the cache after it could not be used


class GuardedCache:
    """Looks up and keeps as the cache does; where that fails nothing is known, for a minute."""

    def __init__(self, cache: ScoreCache, say: Say) -> None:
        self._cache, self._say = cache, say
        self._until = 0.0
        self._told: set[str] = set()

    def look_up(self, wanted: Sequence[tuple[bytes, str | None]]) -> dict[bytes, SlotScore]:
        """What is known; see `ScoreCache.look_up`."""
        nothing: dict[bytes, SlotScore] = {}
        known = self._tried(partial(self._cache.look_up, wanted), nothing) if wanted else nothing
        if self._cache.damaged:
            self._tell(
                f"{self._cache.path}: holds entries that were damaged; they are not answered "
                "from, and what they held is asked again"
            )
        return known

    def keep(self, who: Answerer, answers: Sequence[Kept]) -> dict[bytes, SlotScore]:
        """Keep answers; see `ScoreCache.keep`."""
        nothing: dict[bytes, SlotScore] = {}
        return self._tried(partial(self._cache.keep, who, answers), nothing) if answers else nothing

    def count(self, who: Answerer, hits: int) -> None:
        """Count hits; see `ScoreCache.count`."""
        self._tried(partial(self._cache.count, who, hits), None)

    def _tried(self, call: Callable[[], T], otherwise: T) -> T:
        if time.monotonic() < self._until:
            return otherwise
        try:
            return call()
        except DataError as error:
            self._until = time.monotonic() + _PAUSE
            self._tell(f"{error}; going on without the cache")
            return otherwise

    def _tell(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            self._say(words)
