"""The score cache: answers of models by what was asked, in one file that processes share."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Self

from promptrank.basics.telling import Say
from promptrank.caching import upkeep
from promptrank.caching.cache_file import CacheFile
from promptrank.caching.kept_answers import believable, packed, unpacked
from promptrank.caching.prompt_keys import Answerer
from promptrank.caching.upkeep import CacheInfo
from promptrank.engine.contract import SlotScore
from promptrank.errors import DataError

FILE = "answers.sqlite"
"""Its file in a cache's folder."""
_TOGETHER = 500  # keys of one statement
_DAY = 86_400
_WAIT = 5.0
_NOBODY = b""

_Row = tuple[int, object, object]  # day of the last use, subject, value


class ScoreCache:
    """Answers that are kept; all methods from any thread, and any number of processes at once.

    An entry is one answer to one question about one candidate. It holds no text, no token ids and
    no ids of people: a digest of the prompt, a salted digest of the subject's id, and numbers.

    Attributes:
        path: of the file.
        hits: prompts, one for each candidate and question, that engines answered from it since it
            was opened.
        asked: prompts that they had to answer themselves.
        damaged: entries that were not what was written; they count as unknown.
        teacher: a teacher store of an earlier version, into which engines look for what is not
            here.
    """

    def __init__(
        self, place: str | Path, *, wait: float = _WAIT, teacher: Path | None = None
    ) -> None:
        """Open the cache in a folder, or make it there.

        Args:
            place: a folder, or a file whose name ends in ``.sqlite``.
            wait: seconds to wait while other processes write.
            teacher: folder of a teacher store, which need not be there.

        Raises:
            DataError: it cannot be opened or written, or is damaged.
        """
        place = Path(place)
        self.path = place if place.suffix == ".sqlite" else place / FILE
        self.hits = self.asked = self.damaged = 0
        self.teacher = teacher
        self._file = CacheFile(self.path, wait)
        try:
            with self._file.reading() as connection:
                row = connection.execute("SELECT value FROM facts WHERE name = 'salt'").fetchone()
            if row is None or not isinstance(row[0], bytes) or len(row[0]) != 32:
                raise DataError(
                    f"{self.path}: damaged (it has no salt); remove it, and what it held is asked "
                    "again"
                )
        except BaseException:
            self._file.close()
            raise
        self._salt: bytes = row[0]

    def look_up(self, wanted: Sequence[tuple[bytes, str | None]]) -> dict[bytes, SlotScore]:
        """What is known of these.

        Args:
            wanted: keys (`promptrank.caching.prompt_keys`), each with the id of whom it is asked
                for; who shares an answer with others is noted with them.

        Raises:
            DataError: the file is damaged, or others hold it.
        """
        rows = self._rows({key for key, _ in wanted})
        known: dict[bytes, SlotScore] = {}
        for key, (_, subject, value) in rows.items():
            score = unpacked(key, subject, value)
            if score is None:
                self.damaged += 1
            else:
                known[key] = score
        digests = {of: self._digest(of) for of in {of for _, of in wanted} if of is not None}
        pairs = {(k, digests[of]) for k, of in wanted if of is not None and k in known}
        sharers = self._unnoted([pair for pair in pairs if rows[pair[0]][1] != pair[1]])
        today = int(time.time()) // _DAY
        seen = [(today, key) for key in known if rows[key][0] < today]
        if sharers or seen:
            # An answer is given only once it is noted whose it is, too.
            with self._file.writing() as connection:
                connection.executemany("INSERT OR IGNORE INTO sharers VALUES (?, ?)", sharers)
                connection.executemany("UPDATE answers SET used = ? WHERE key = ?", seen)
        return known

    def keep(
        self, who: Answerer, answers: Iterable[tuple[bytes, str | None, SlotScore]]
    ) -> dict[bytes, SlotScore]:
        """Keep answers, all of them or none; those that are there already stay as they are.

        Args:
            who: answered.
            answers: key, the id of whom it was asked for, and the answer. What no engine could
                have answered (NaN, for one) is left out.

        Returns:
            What is there now of each: the first answer to a prompt that was asked several times.

        Raises:
            DataError: it cannot be written, or others hold it.
        """
        fresh: dict[bytes, tuple[bytes, SlotScore]] = {}
        pairs: set[tuple[bytes, bytes]] = set()
        for key, name, score in answers:
            if believable(score, len(score.logprobs)):
                subject = self._digest(name) if name is not None else _NOBODY
                fresh.setdefault(key, (subject, score))
                pairs.add((key, subject))
        if not fresh:
            return {}
        now = int(time.time())
        with self._file.writing() as connection:
            number = self._number(connection, who)
            there = self._rows(fresh)
            good = {
                key: whole
                for key, (_, subject, value) in there.items()
                if (whole := unpacked(key, subject, value)) is not None
            }
            connection.executemany(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (key, number, now, now // _DAY, subject, packed(key, subject, score))
                    for key, (subject, score) in sorted(fresh.items(), key=lambda kept: kept[0])
                    if key not in good
                ],
            )
            owners = {key: (there[key][1] if key in good else fresh[key][0]) for key in fresh}
            connection.executemany(
                "INSERT OR IGNORE INTO sharers VALUES (?, ?)",
                sorted(pair for pair in pairs if pair[1] not in (_NOBODY, owners[pair[0]])),
            )
        return {key: score for key, (_, score) in fresh.items()} | good

    def count(self, who: Answerer, hits: int) -> None:
        """Add to how often its answers were given from here.

        Raises:
            DataError: as `keep`.
        """
        with self._file.writing() as connection:
            number = self._number(connection, who)
            connection.execute(
                "UPDATE answerers SET hits = hits + ? WHERE number = ?", (hits, number)
            )

    def info(self) -> CacheInfo:
        """What is in it, by who answered.

        Raises:
            DataError: it is damaged.
        """
        return upkeep.info(self._file)

    def prune(self, *, older_than: float | None = None, max_bytes: int | None = None) -> int:
        """Remove entries; how many. The file gets smaller by them.

        Args:
            older_than: seconds; those go that were not used for so long, by whole days.
            max_bytes: of the file; those that were not used for longest go until it has no more.

        Raises:
            DataError: others hold it, or the disk has no room for the smaller file beside it.
        """
        return upkeep.prune(self._file, older_than, max_bytes)

    def purge(self, subject_id: str) -> int:
        """Remove every entry that was asked for somebody, shared ones too; how many.

        Afterwards their bytes are neither in the file nor in its log. A purge that was killed is
        finished by another.

        Raises:
            DataError: others hold it all the while; then do it again.
        """
        return upkeep.purge(self._file, self._digest(subject_id))

    def count_of(self, subject_id: str) -> int:
        """How many entries `purge` would remove.

        Raises:
            DataError: it is damaged.
        """
        return upkeep.count_of(self._file, self._digest(subject_id))

    def close(self) -> None:
        """Close it; safe to call twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _digest(self, subject_id: str) -> bytes:
        name = subject_id.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(name, digest_size=16, key=self._salt).digest()

    def _rows(self, keys: Iterable[bytes]) -> dict[bytes, _Row]:
        rows: dict[bytes, _Row] = {}
        # In their order, which is that of the pages.
        for together in _pieces(sorted(keys), _TOGETHER):
            marks = ",".join("?" * len(together))
            with self._file.reading() as connection:
                given = connection.execute(
                    f"SELECT key, used, subject, value FROM answers WHERE key IN ({marks})",
                    together,
                ).fetchall()
            for key, used, subject, value in given:
                rows[key] = (used if isinstance(used, int) else 0, subject, value)
        return rows

    def _unnoted(self, pairs: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Those of (key, subject) that are not among the sharers yet."""
        there: set[tuple[bytes, bytes]] = set()
        for together in _pieces(sorted({key for key, _ in pairs}), _TOGETHER):
            marks = ",".join("?" * len(together))
            with self._file.reading() as connection:
                there.update(
                    connection.execute(
                        f"SELECT key, subject FROM sharers WHERE key IN ({marks})", together
                    )
                )
        return sorted(pair for pair in pairs if pair not in there)

    def _number(self, connection: sqlite3.Connection, who: Answerer) -> int:
        """The number of an answerer in the file, within a transaction."""
        connection.execute(
            "INSERT OR IGNORE INTO answerers (scope, about, hits) VALUES (?, ?, 0)",
            (who.scope, json.dumps(asdict(who))),
        )
        query = "SELECT number FROM answerers WHERE scope = ?"
        return int(connection.execute(query, (who.scope,)).fetchone()[0])


def open_cache(
    place: str | Path, say: Say, *, wait: float = _WAIT, teacher: Path | None = None
) -> ScoreCache | None:
    """The cache in a folder; None, and it is said why, where it cannot be used."""
    try:
        return ScoreCache(place, wait=wait, teacher=teacher)
    except DataError as error:
        say(f"{error}; going on without the cache")
        return None


def _pieces(keys: Sequence[bytes], size: int) -> Iterator[list[bytes]]:
    left = iter(keys)
    while together := list(islice(left, size)):
        yield together
