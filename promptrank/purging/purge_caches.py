"""Purging score caches, whose entries bear a salted digest of whom they were asked for."""

from collections.abc import Iterator
from pathlib import Path

from promptrank.caching.score_cache import FILE, ScoreCache
from promptrank.errors import DataError
from promptrank.purging.proof import Occurrence
from promptrank.purging.purged_subject import PurgedSubject
from promptrank.purging.removed import Removed


def cache_file(place: Path) -> Path:
    """The file of a cache in a folder, or named itself.

    Raises:
        DataError: there is none.
    """
    path = place if place.suffix == ".sqlite" else place / FILE
    if not path.is_file():
        raise DataError(f"{path}: no score cache there; look at the path")
    return path


def purge_cache(path: Path, subject: PurgedSubject, *, dry: bool) -> Removed:
    """Remove all answers that were asked for a person, those shared with others too.

    Raises:
        DataError: others hold the cache all the while, or it is damaged.
    """
    removed = Removed(path)
    with ScoreCache(path) as cache:
        gone = cache.count_of(subject.id) if dry else cache.purge(subject.id)
    removed.add("kept answer", gone)
    return removed


def cache_occurrences(path: Path, subject: PurgedSubject) -> Iterator[Occurrence]:
    """Where a person still stands by a digest, which no search for the id would see."""
    with ScoreCache(path) as cache:
        if cache.count_of(subject.id):
            yield Occurrence(path, "answers that were asked for them")
