"""``cache_info`` and ``prune_cache``: what a score cache holds, and making it smaller."""

from pathlib import Path

from promptrank.caching.score_cache import FILE, ScoreCache
from promptrank.caching.upkeep import CacheInfo
from promptrank.project import open_project
from promptrank.workspace.kept_scores import CacheChoice, cache_folder


def cache_info(cache: CacheChoice = True, *, project: str | Path | None = None) -> CacheInfo:
    """What a score cache holds, by model and adapter; nothing where there is none yet.

    Args:
        cache: that of the project (True), or one in a folder.

    Raises:
        InputError: it is damaged.
    """
    path = _path(cache, project)
    if not path.is_file():
        return _none(path)
    with ScoreCache(path) as opened:
        return opened.info()


def prune_cache(
    cache: CacheChoice = True,
    *,
    project: str | Path | None = None,
    older_than: float | None = None,
    max_bytes: int | None = None,
) -> tuple[int, CacheInfo]:
    """Remove what was not used lately; nothing where there is no cache yet.

    Args:
        older_than: seconds; entries go that were not used for so long, by whole days.
        max_bytes: of the file; entries that were not used for longest go until it has no more.

    Returns:
        How many entries went, and what is left.

    Raises:
        InputError: it is damaged, or others hold it.
    """
    path = _path(cache, project)
    if not path.is_file():
        return 0, _none(path)
    with ScoreCache(path) as opened:
        gone = opened.prune(older_than=older_than, max_bytes=max_bytes)
        return gone, opened.info()


def _path(cache: CacheChoice, project: str | Path | None) -> Path:
    folder = cache_folder(open_project(project).root, cache)
    return folder if folder.suffix == ".sqlite" else folder / FILE


def _none(path: Path) -> CacheInfo:
    return CacheInfo(path, 0, 0, 0, None, ())
