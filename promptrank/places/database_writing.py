"""Rows into a table of a database: all of them in one transaction, in place of those of before."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from promptrank.basics.addresses import scheme_of
from promptrank.basics.sql import ident, seconds
from promptrank.errors import DataError, InputError
from promptrank.places.database_names import table_name
from promptrank.places.postgres import connected, told
from promptrank.places.sqlite_tables import opened, sqlite_file

_TYPES: Mapping[pa.DataType, tuple[str, str]] = {
    pa.string(): ("text", "TEXT"),
    pa.int32(): ("integer", "INTEGER"),
    pa.float64(): ("double precision", "REAL"),
}
"""Arrow's type -> Postgres' and SQLite's."""


def replace_rows(
    name: str, root: Path, batches: pa.RecordBatchReader, key: tuple[str, ...], of: str
) -> int:
    """Put rows into a table, in place of those whose first key column is ``of``.

    The table is made where it is not there. Whoever reads it sees the rows of before until all of
    the new ones are there; where anything goes wrong nothing has changed.

    Args:
        name: ``postgresql://user@host/db#schema.table`` or ``sqlite:file.db#table``.
        root: folder that a path of SQLite without a leading slash is relative to.
        batches: columns of texts, 32-bit integers and floats.
        key: columns that tell one row from another, the first of which is what is replaced.

    Returns:
        How many rows.

    Raises:
        DataError: no connection, or what the database says is wrong.
        InputError: an address that is not of a table.
    """
    if scheme_of(name) == "postgresql":
        return _postgres(name, batches, key, of)
    if scheme_of(name) == "sqlite":
        return _sqlite(name, root, batches, key, of)
    raise InputError(
        "name a table to write to: postgresql://user@host/db#schema.table, or sqlite:file.db#table"
    )


def _postgres(name: str, batches: pa.RecordBatchReader, key: tuple[str, ...], of: str) -> int:
    database, parts = table_name(name, example="postgresql://user@host/db#schema.table")
    table = ".".join(map(ident, parts))
    limit = seconds()
    milliseconds = 0 if math.isinf(limit) else max(1, round(limit * 1000))
    counted = _Counted(batches)
    with connected(database) as connection, connection.cursor() as cursor, told(name):
        cursor.execute(f"SET LOCAL statement_timeout = {milliseconds}")
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} ({_columns(batches.schema, key, 0)})")
        # Two that write the same take turns; whoever reads is not kept waiting.
        cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(f"DELETE FROM {table} WHERE {ident(key[0])} = $1", (of,))
        schema = parts[0] if len(parts) == 2 else None
        rows = pa.RecordBatchReader.from_batches(batches.schema, counted)
        cursor.adbc_ingest(parts[-1], rows, mode="append", db_schema_name=schema)
        connection.commit()
    return counted.rows


def _sqlite(
    name: str, root: Path, batches: pa.RecordBatchReader, key: tuple[str, ...], of: str
) -> int:
    file, plain = sqlite_file(name, root)
    table = ident(plain)
    if not file.parent.is_dir():
        raise DataError(f"{name}: no folder {file.parent}")
    names = ", ".join(map(ident, batches.schema.names))
    marks = ", ".join("?" * len(batches.schema))
    counted = _Counted(batches)
    with opened(file, name, write=True) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} ({_columns(batches.schema, key, 1)})"
        )
        connection.execute(f"DELETE FROM {table} WHERE {ident(key[0])} = ?", (of,))
        for batch in counted:
            rows = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
        connection.execute("COMMIT")
    return counted.rows


class _Counted:
    """Batches as they come, and how many rows they had."""

    def __init__(self, batches: pa.RecordBatchReader) -> None:
        self._batches, self.rows = batches, 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


def _columns(schema: pa.Schema, key: tuple[str, ...], database: int) -> str:
    columns = [
        f"{ident(f.name)} {_TYPES[f.type][database]}{' NOT NULL' if f.name in key else ''}"
        for f in schema
    ]
    return ", ".join([*columns, f"PRIMARY KEY ({', '.join(map(ident, key))})"])
