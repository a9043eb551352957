"""Looking after a score cache: what is in it, making it smaller, and removing somebody from it."""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promptrank.basics.json_files import checked, json_object
from promptrank.caching.cache_file import CacheFile
from promptrank.caching.prompt_keys import Answerer
from promptrank.errors import DataError

_DAY = 86_400
_ROUNDS = 8  # of removing what is too much, as entries are of several sizes
_OWN = (
    "SELECT key FROM answers WHERE subject = :subject "
    "UNION SELECT key FROM sharers WHERE subject = :subject"
)


@dataclass(frozen=True, slots=True)
class AnswererEntries:
    """The entries of a model with an adapter.

    Attributes:
        engine, model, dtype, device: what answered first, by name.
        model_digest, adapter_digest: SHA-256 of the weights.
        adapter: name of the adapter's folder; None for the base model.
        entries: answers, one for each candidate and question.
        bytes: its share of the file, by the lengths of its entries.
        hits: how often they were given from the cache.
        oldest, newest: when the first and the last was written, in unix seconds.
        last_used: when any was given last, by the day.
    """

    engine: str
    model: str
    model_digest: str
    dtype: str
    device: str | None
    adapter: str | None
    adapter_digest: str | None
    entries: int
    bytes: int
    hits: int
    oldest: float | None
    newest: float | None
    last_used: float | None


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a score cache holds.

    Attributes:
        path: its file.
        bytes: of the file and its log.
        entries, hits, oldest: over all who answered.
        answerers: most entries first.
    """

    path: Path
    bytes: int
    entries: int
    hits: int
    oldest: float | None
    answerers: tuple[AnswererEntries, ...]

    def as_dict(self) -> dict[str, Any]:
        """As plain values, times as ISO 8601."""
        facts = asdict(self) | {"path": str(self.path), "oldest": _moment(self.oldest)}
        for each in facts["answerers"]:
            each |= {name: _moment(each[name]) for name in ("oldest", "newest", "last_used")}
        return facts


def info(file: CacheFile) -> CacheInfo:
    """What is in it; reads every entry."""
    with file.reading() as connection:
        rows = connection.execute(
            "SELECT about, hits, count(key), coalesce(sum(length(value) + length(subject) + 32), "
            "0), min(written), max(written), max(used) FROM answerers "
            "LEFT JOIN answers ON answerer = number GROUP BY number ORDER BY 3 DESC, number"
        ).fetchall()
    size = file.size
    whole = sum(row[3] for row in rows)
    answerers = []
    for about, hits, entries, length, oldest, newest, used in rows:
        answerers.append(
            AnswererEntries(
                **_named(file, about),
                entries=entries,
                bytes=size * length // whole if whole else 0,
                hits=hits,
                oldest=oldest,
                newest=newest,
                last_used=used * _DAY if used is not None else None,
            )
        )
    return CacheInfo(
        file.path,
        size,
        sum(each.entries for each in answerers),
        sum(each.hits for each in answerers),
        min((each.oldest for each in answerers if each.oldest is not None), default=None),
        tuple(answerers),
    )


def prune(file: CacheFile, older_than: float | None, max_bytes: int | None) -> int:
    """Remove entries that were not used lately; how many."""
    removed = 0
    if older_than is not None:
        last = (time.time() - older_than) // _DAY
        removed += _remove(file, "SELECT key FROM answers WHERE used < :last", {"last": int(last)})
    if removed:
        file.vacuum()
    file.empty_log()
    for _ in range(_ROUNDS):
        if max_bytes is None or file.size <= max_bytes:
            break
        with file.reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM answers").fetchone()
        if not count:
            break
        most = count * max_bytes // file.size
        gone = _remove(
            file,
            "SELECT key FROM answers ORDER BY used, written, key LIMIT :gone",
            {"gone": max(count - most, 1)},
        )
        removed += gone
        file.vacuum()
        file.empty_log()
    return removed


def purge(file: CacheFile, subject: bytes) -> int:
    """Remove what was asked for a subject, by its digest; how many."""
    removed = _remove(file, _OWN, {"subject": subject})
    with file.reading() as connection:
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if removed or free:
        file.vacuum()
    file.empty_log()
    return removed


def count_of(file: CacheFile, subject: bytes) -> int:
    """How many entries were asked for a subject."""
    with file.reading() as connection:
        query = f"SELECT count(*) FROM answers WHERE key IN ({_OWN})"
        return int(connection.execute(query, {"subject": subject}).fetchone()[0])


def _remove(file: CacheFile, chosen: str, given: dict[str, Any]) -> int:
    """Remove the entries whose keys a query gives; what they held is overwritten."""
    with file.reading() as connection:
        connection.execute("PRAGMA secure_delete = ON")
    with file.writing() as connection:
        connection.execute("CREATE TEMP TABLE gone AS " + chosen, given)
        gone = connection.execute("DELETE FROM answers WHERE key IN (SELECT key FROM gone)")
        connection.execute("DELETE FROM sharers WHERE key IN (SELECT key FROM gone)")
        connection.execute("DROP TABLE gone")
        connection.execute(
            "DELETE FROM answerers WHERE number NOT IN (SELECT DISTINCT answerer FROM answers)"
        )
        return gone.rowcount


def _named(file: CacheFile, about: str) -> dict[str, Any]:
    where = f"{file.path}: of a model in it"
    then = "remove the file, and what it held is asked again"
    facts = json_object(about, where, error=DataError, then=then)
    who = checked(Answerer, facts, file.path, error=DataError, what="a score cache", then=then)
    return asdict(who) | {"adapter": Path(who.adapter).name if who.adapter is not None else None}


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
