"""A project's score cache: where it lies, and what answers from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.basics.paths import expanded
from promptrank.basics.plurals import counted
from promptrank.basics.telling import Say
from promptrank.caching.score_cache import ScoreCache, open_cache
from promptrank.errors import InputError
from promptrank.runtime.decoders import HTTP

CACHE = "cache"
"""Folder of a project that holds its score cache."""
TEACHER = "teacher"
"""Folder of a project that may hold a teacher store of an earlier version."""
CacheChoice = bool | str | Path
"""Whether there is a cache: that of the project (True), one in a folder, or none (False)."""


@contextmanager
def score_cache(project: Path, cache: CacheChoice, say: Say) -> Iterator[ScoreCache | None]:
    """The chosen cache, opened; None where none is wanted, or where it cannot be used."""
    if cache is False:
        yield None
        return
    opened = open_cache(cache_folder(project, cache), say, teacher=project / TEACHER)
    try:
        yield opened
    finally:
        if opened is not None:
            opened.close()


def cache_folder(project: Path, cache: CacheChoice) -> Path:
    """Where a chosen cache lies."""
    return project / CACHE if isinstance(cache, bool) else expanded(cache)


def check_cached(engine: str, cache: CacheChoice) -> None:
    """Refuse a cache before what is cheaper than a look-up.

    Raises:
        InputError: students, baselines, and servers.
    """
    if cache is not False and engine.startswith(("student:", "baseline:")):
        raise InputError(f"{engine}: the score cache is for decoders; leave --cache out")
    check_weights_known(engine, cache)


def check_weights_known(engine: str, cache: CacheChoice) -> None:
    """Refuse a cache for an engine that may be another model tomorrow under the same name.

    Raises:
        InputError: a server.
    """
    if cache is not False and not weights_known(engine):
        raise InputError(
            f"{engine}: which weights answer at an address is not known, so the score cache could "
            "give the answers of another model; leave --cache out"
        )


def weights_known(engine: str) -> bool:
    """Whether a digest tells this engine's weights; an address tells nothing of them."""
    return not engine.startswith(HTTP)


def teachers_cache(engine: str, cache: CacheChoice, say: Say) -> CacheChoice:
    """Where a teacher's answers are kept: nowhere, which is said, for a server."""
    if cache is False or weights_known(engine):
        return cache
    say(f"{engine}: answers are not kept, as which weights answer at an address is not known")
    return False


def tell_use(cache: ScoreCache | None, say: Say, who: str = "model") -> None:
    """Say how many prompts were answered from the cache since it was opened."""
    if cache is not None and cache.hits + cache.asked:
        say(
            f"{counted(cache.hits, 'prompt')} answered from the cache, {cache.asked:,} by the {who}"
        )
