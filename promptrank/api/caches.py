"""``cache_info`` and ``prune_cache``: what a score cache holds, and making it smaller."""

from pathlib import Path

from promptrank.caching.score_cache import FILE, ScoreCache
from promptrank.caching.upkeep import CacheInfo
from promptrank.errors import InputError
from promptrank.project import open_project
from promptrank.workspace.kept_scores import CacheChoice, cache_folder


def cache_info(cache: CacheChoice = True, *, project: str | Path | None = None) -> CacheInfo:
    """What a score cache holds, by model and adapter.

    Args:
        cache: that of the project (True), or one in a folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    with _opened(cache, project) as opened:
        return opened.info()


def prune_cache(
    cache: CacheChoice = True,
    *,
    project: str | Path | None = None,
    older_than: float | None = None,
    max_bytes: int | None = None,
) -> tuple[int, CacheInfo]:
    """Remove what was not used lately.

    Args:
        older_than: seconds; entries go that were not used for so long, by whole days.
        max_bytes: of the file; entries that were not used for longest go until it has no more.

    Returns:
        How many entries went, and what is left.

    Raises:
        InputError: there is no cache, it is damaged, or others hold it.
    """
    with _opened(cache, project) as opened:
        gone = opened.prune(older_than=older_than, max_bytes=max_bytes)
        return gone, opened.info()


def _opened(cache: CacheChoice, project: str | Path | None) -> ScoreCache:
    folder = cache_folder(open_project(project).root, cache)
    path = folder if folder.suffix == ".sqlite" else folder / FILE
    if not path.is_file():
        raise InputError(f"{path}: no score cache there; `promptrank rank --cache` makes one")
    return ScoreCache(path)
