"""The workbench's database: one SQLite file in the project, for several servers at once."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.basics.transactions import transaction
from promptrank.errors import InputError

PLACE = Path(".promptrank") / "workbench.sqlite"
"""Where it lies in a project."""
_FORMAT = 1  # user_version of the file
_WAIT = 10.0  # seconds for another server that writes
_TABLES = """
CREATE TABLE IF NOT EXISTS texts (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, made REAL NOT NULL, task TEXT NOT NULL,
    name TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '', state TEXT NOT NULL,
    template_file TEXT NOT NULL, template TEXT NOT NULL, config TEXT NOT NULL,
    saved_template TEXT NOT NULL, saved_config TEXT NOT NULL,
    edit_key TEXT NOT NULL, saved_key TEXT NOT NULL,
    part TEXT, request_ids TEXT NOT NULL, facts TEXT NOT NULL, report TEXT
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_of_task ON runs (task, made);
CREATE TABLE IF NOT EXISTS origins (
    key TEXT PRIMARY KEY, origin TEXT NOT NULL, columns BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rankings (
    key TEXT NOT NULL, request_id TEXT NOT NULL, scored BLOB NOT NULL, errors TEXT NOT NULL,
    PRIMARY KEY (key, request_id)
) WITHOUT ROWID;
"""


class Database:
    """A connection that threads share; a write is a whole transaction, or nothing.

    Write-ahead logging lets one server read while another writes, and what a killed process had
    committed is there at the next start.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False) -> None:
        """Open it, and make it where it is not there.

        Args:
            path: None for one in memory, which is gone with the process.
            read_only: only look at a file that is there.

        Raises:
            InputError: it cannot be opened, is no database, or is of a later promptrank.
        """
        self.path = path
        self._lock = threading.RLock()
        try:
            if path is not None and not read_only:
                _prepare(path)
            place = ":memory:"
            if path is not None:
                place = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self._connection = sqlite3.connect(
                place,
                timeout=_WAIT,
                isolation_level=None,
                check_same_thread=False,
                uri=True,
            )
            self._set_up(read_only)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for queries.

        Raises:
            InputError: the file is damaged, or another server has held it for too long.
        """
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise self._unusable(error) from None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection within a transaction, which an error takes back.

        Raises:
            InputError: as for `reading`.
        """
        with self.reading() as connection, transaction(connection):
            yield connection

    def close(self) -> None:
        """Close it; safe to call twice."""
        with self._lock:
            self._connection.close()

    def _set_up(self, read_only: bool) -> None:
        connection = self._connection
        (made_by,) = connection.execute("PRAGMA user_version").fetchone()
        if made_by > _FORMAT:
            raise InputError(
                f"{self.path}: written by a later promptrank; update this one, or move it away"
            )
        if read_only:
            if made_by < _FORMAT:
                raise InputError(f"{self.path}: empty; a server that may write fills it")
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        if made_by < _FORMAT:
            connection.executescript(_TABLES)
            connection.execute(f"PRAGMA user_version = {_FORMAT}")

    def _unusable(self, error: Exception) -> InputError:
        place = self.path if self.path is not None else "the workbench's memory"
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return InputError(f"{place}: another server has held it for {_WAIT:g} s; try again")
        return InputError(
            f"{place}: cannot be used ({error}); move it away to start anew, or start with "
            "--workbench read-only"
        )


def _prepare(path: Path) -> None:
    """The folder, which git does not take up, and a file that its owner alone can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ignore = path.parent / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
