"""A table of a database within one transaction: the same few words for Postgres and SQLite."""

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from promptrank.basics.addresses import address, is_database, scheme_of, secret_in
from promptrank.basics.sql import ident, seconds
from promptrank.errors import DataError, InputError
from promptrank.places.database_names import table_name
from promptrank.places.postgres import connected, told
from promptrank.places.sqlite_tables import opened, sqlite_file

EXAMPLES = "postgresql://user@host/db#schema.table, or sqlite:file.db#table"
_POSTGRES = {pa.string(): "text", pa.int32(): "integer", pa.float64(): "double precision"}
_NUMBERS = ("integer", "real", "bigint", "smallint", "numeric", "double precision")
_SQLITE = {pa.string(): "TEXT", pa.int32(): "INTEGER", pa.float64(): "REAL"}


class DuplicateRow(DataError):
    """A row whose key is in the table already; the message is the database's own."""


class OpenTable(Protocol):
    """A table, and the transaction on it; what is not committed is undone.

    Attributes:
        name: its address.
        sql: its quoted name.
    """

    name: str
    sql: str

    def ask(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        """Run one statement, whose values are ``$1``, ``$2`` and so on, and give its rows."""

    def make(self, schema: pa.Schema, key: Sequence[str]) -> None:
        """Make it where it is not there: texts, 32-bit integers and floats."""

    def holding(self, column: str, text: str) -> list[tuple[str, bool]]:
        """Different values of a column, as text, that hold a text; and whether they are numbers."""

    def columns(self) -> list[str]:
        """Names of its columns.

        Raises:
            DataError: there is no such table.
        """

    def insert(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        """Put rows into it; how many.

        Raises:
            DuplicateRow: the key of one of them is there already.
        """

    def take_turns(self) -> None:
        """From here on nobody else writes it; whoever reads is not kept waiting."""

    def commit(self) -> None:
        """Keep what was done."""


def table_address(name: str | Path) -> str:
    """The address of a table, once it is seen that it is one and holds no secret.

    Raises:
        InputError: it does, or is something else.
    """
    if wrong := secret_in(name):
        raise InputError(wrong)
    whole = address(name)
    if whole is None or not is_database(whole):
        shown = name if whole is None else f"{whole.partition(':')[0]}:"
        raise InputError(f"{shown}: is no table of a database; write {EXAMPLES}")
    return whole


@contextmanager
def open_table(name: str, root: Path, *, write: bool, new: bool = False) -> Iterator[OpenTable]:
    """A table to read, or to write in one transaction.

    Args:
        name: as `table_address` gives it.
        root: folder that a path of SQLite without a leading slash is relative to.
        new: the database's file may be a new one.

    Raises:
        DataError: no connection, or what the database says is wrong.
        InputError: an address that is not of a table.
    """
    if scheme_of(name) == "postgresql":
        database, parts = table_name(name, example="postgresql://user@host/db#schema.table")
        with connected(database) as connection, connection.cursor() as cursor, told(name):
            yield _PostgresTable(name, parts, connection, cursor, write)
    else:
        file, plain = sqlite_file(name, root)
        if not file.parent.is_dir():
            raise DataError(f"{name}: no folder {file.parent}; make it, or name another file")
        if not new and not file.is_file():
            raise DataError(f"{name}: no file {file}; look at the path")
        with opened(file, name, write=write) as connection:
            yield _SqliteTable(name, plain, connection, write)


class _PostgresTable:
    def __init__(
        self, name: str, parts: list[str], connection: Any, cursor: Any, write: bool
    ) -> None:
        self.name, self.sql = name, ".".join(map(ident, parts))
        self._parts, self._connection, self._cursor = parts, connection, cursor
        limit = seconds()
        milliseconds = 0 if math.isinf(limit) else max(1, round(limit * 1000))
        if not write:
            self.ask("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.ask(f"SET LOCAL statement_timeout = {milliseconds}")

    def ask(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement, values or None)
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def make(self, schema: pa.Schema, key: Sequence[str]) -> None:
        self.ask(f"CREATE TABLE IF NOT EXISTS {self.sql} ({_columns(schema, key, _POSTGRES)})")

    def holding(self, column: str, text: str) -> list[tuple[str, bool]]:
        value, kind = f"CAST({ident(column)} AS text)", f"pg_typeof({ident(column)})::text"
        asked = f"SELECT DISTINCT {value}, {kind} FROM {self.sql} WHERE strpos({value}, $1) > 0"
        return [(value, kind in _NUMBERS) for value, kind in self.ask(asked, text)]

    def columns(self) -> list[str]:
        self._cursor.execute(f"SELECT * FROM {self.sql} LIMIT 0")
        return list(self._cursor.fetch_arrow_table().schema.names)

    def insert(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        counted = _Counted(batches)
        rows = pa.RecordBatchReader.from_batches(schema, counted)
        where = self._parts[0] if len(self._parts) == 2 else None
        try:
            self._cursor.adbc_ingest(self._parts[-1], rows, mode="append", db_schema_name=where)
        except self._connection.Error as error:
            if error.sqlstate == "23505":
                raise DuplicateRow(str(error)) from None
            raise
        return counted.rows

    def take_turns(self) -> None:
        self.ask(f"LOCK TABLE {self.sql} IN SHARE ROW EXCLUSIVE MODE")

    def commit(self) -> None:
        self._connection.commit()


class _SqliteTable:
    def __init__(self, name: str, plain: str, connection: sqlite3.Connection, write: bool) -> None:
        self.name, self.sql, self._connection = name, ident(plain), connection
        if write:  # what is deleted is overwritten, and not left in free pages
            connection.execute("PRAGMA secure_delete = ON")
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")

    def ask(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        named = {str(place): value for place, value in enumerate(values, 1)}
        return self._connection.execute(statement, named).fetchall()

    def make(self, schema: pa.Schema, key: Sequence[str]) -> None:
        self.ask(f"CREATE TABLE IF NOT EXISTS {self.sql} ({_columns(schema, key, _SQLITE)})")

    def holding(self, column: str, text: str) -> list[tuple[str, bool]]:
        value, kind = f"CAST({ident(column)} AS TEXT)", f"typeof({ident(column)})"
        asked = f"SELECT DISTINCT {value}, {kind} FROM {self.sql} WHERE instr({value}, $1) > 0"
        return [(value, kind in _NUMBERS) for value, kind in self.ask(asked, text)]

    def columns(self) -> list[str]:
        told = self._connection.execute(f"SELECT * FROM {self.sql} LIMIT 0").description
        return [str(column[0]) for column in told]

    def insert(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
        names = ", ".join(map(ident, schema.names))
        statement = f"INSERT INTO {self.sql} ({names}) VALUES ({', '.join('?' * len(schema))})"
        rows = 0
        for batch in batches:
            values = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            try:
                self._connection.executemany(statement, values)
            except sqlite3.IntegrityError as error:
                if error.sqlite_errorname not in ("SQLITE_CONSTRAINT_PRIMARYKEY", _UNIQUE):
                    raise
                raise DuplicateRow(str(error)) from None
            rows += batch.num_rows
        return rows

    def take_turns(self) -> None:
        """It has been so since the transaction began."""

    def commit(self) -> None:
        self._connection.execute("COMMIT")


_UNIQUE = "SQLITE_CONSTRAINT_UNIQUE"


class _Counted:
    """Batches as they come, and how many rows they had."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches, self.rows = batches, 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


def _columns(schema: pa.Schema, key: Sequence[str], types: dict[pa.DataType, str]) -> str:
    columns = [
        f"{ident(f.name)} {types[f.type]}{' NOT NULL' if f.name in key else ''}" for f in schema
    ]
    return ", ".join([*columns, f"PRIMARY KEY ({', '.join(map(ident, key))})"])
