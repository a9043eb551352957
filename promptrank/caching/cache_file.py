"""The file of a score cache: SQLite with a write-ahead log, for several processes at once.

A process that is killed leaves what it had committed, and nothing half done. The log wants a local
disk: file systems over a network give its processes no memory to share.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from promptrank.basics.transactions import transaction
from promptrank.errors import DataError

_FORMAT = 1
_MARK = 0x70724361  # SQLite's application_id, so that no other database is taken for a cache
_TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    # Who answered, by scope; what it is called is JSON.
    "CREATE TABLE answerers (number INTEGER PRIMARY KEY, scope BLOB NOT NULL UNIQUE, "
    "about TEXT NOT NULL, hits INTEGER NOT NULL)",
    # One answer each. `subject` is a digest, `used` a day, `written` seconds.
    "CREATE TABLE answers (key BLOB PRIMARY KEY, answerer INTEGER NOT NULL, "
    "written INTEGER NOT NULL, used INTEGER NOT NULL, subject BLOB NOT NULL, "
    "value BLOB NOT NULL) WITHOUT ROWID",
    # Further subjects with the very same prompt.
    "CREATE TABLE sharers (key BLOB NOT NULL, subject BLOB NOT NULL, "
    "PRIMARY KEY (key, subject)) WITHOUT ROWID",
)


class CacheFile:
    """The opened database; all methods from any thread.

    Attributes:
        path: of the file; beside it lie those of its log while it is open.
        wait: seconds to wait while other processes write.
    """

    def __init__(self, path: Path, wait: float) -> None:
        """Open it, and make it where it is not there.

        Raises:
            DataError: it cannot be opened or written, or is no score cache.
        """
        self.path, self.wait = path, wait
        self._lock = threading.RLock()
        with self._told():
            _prepare(path.parent)
            self._connection = sqlite3.connect(
                path, timeout=wait, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries; what is wrong becomes a DataError."""
        with self._lock, self._told():
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection within a transaction, which an error takes back."""
        with self.reading() as connection, transaction(connection):
            yield connection

    def vacuum(self) -> None:
        """Write the file anew without what was deleted.

        Raises:
            DataError: others hold it, or the disk has no room for a second one.
        """
        with self.reading() as connection:
            connection.execute("VACUUM")

    def empty_log(self) -> None:
        """Move all that is in the log into the file, and cut the log off.

        Raises:
            DataError: others read it all the while.
        """
        end = time.monotonic() + self.wait
        with self.reading() as connection:
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > end:
                    raise DataError(
                        f"{self.path}: another process reads it all the while, so its log "
                        "(-wal) could not be emptied; do the same again once that is done"
                    )
                time.sleep(0.02)

    @property
    def size(self) -> int:
        """Bytes of the file and of its log."""
        total = 0
        for ending in ("", "-wal"):
            with suppress(OSError):
                total += Path(f"{self.path}{ending}").stat().st_size
        return total

    def close(self) -> None:
        """Close it; safe to call twice."""
        with self._lock:
            self._connection.close()

    def _set_up(self) -> None:
        connection = self._connection
        # A file from elsewhere must not run anything, so its schema is ours to the letter.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if not self._schema():
            self._make_write_ahead()  # before that, somebody else's file would be changed by it
            self._make()
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        (made_by,) = connection.execute("PRAGMA user_version").fetchone()
        if mark == _MARK and made_by > _FORMAT:
            raise DataError(
                f"{self.path}: written by a later promptrank; update this one, or name another "
                "folder for the cache"
            )
        if mark != _MARK or self._schema() != set(_TABLES):
            raise DataError(f"{self.path}: is no score cache; name another folder for the cache")
        self._make_write_ahead()
        connection.execute("PRAGMA synchronous = NORMAL")

    def _schema(self) -> set[str]:
        query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"
        try:
            return {str(sql) for (sql,) in self._connection.execute(query)}
        except UnicodeDecodeError:  # a damaged name, or SQLite's own words that quote it
            raise sqlite3.DatabaseError("malformed database schema") from None

    def _make_write_ahead(self) -> None:
        """SQLite does not wait by itself where two processes do this at once."""
        end = time.monotonic() + self.wait
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def _make(self) -> None:
        """The tables of a new file; two processes may come to it at once."""
        connection = self._connection
        with transaction(connection):
            if not self._schema():
                for table in _TABLES:
                    connection.execute(table)
                connection.execute("INSERT INTO facts VALUES ('salt', ?)", (os.urandom(32),))
                connection.execute(f"PRAGMA application_id = {_MARK}")
                connection.execute(f"PRAGMA user_version = {_FORMAT}")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"{self.path}: {self._what_of(error)}") from None

    def _what_of(self, error: Exception) -> str:
        text = getattr(error, "strerror", None) or str(error)
        if "locked" in text or "busy" in text:
            return f"another process has held it for {self.wait:g} s; try again once that is done"
        if isinstance(error, OSError) or any(w in text for w in ("readonly", "unable to open")):
            return f"cannot be written ({text}); name another folder for the cache"
        if "I/O" in text or "locking protocol" in text:
            return f"cannot be used there ({text}); name a folder on a local disk for the cache"
        if "full" in text:
            return f"the disk is full ({text}); make room, or `promptrank cache prune`"
        return f"damaged, or no score cache ({text}); remove it, and what it held is asked again"


def _prepare(folder: Path) -> None:
    """The folder; one that is new is not for git to take up."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
