"""Tables of Postgres, by ADBC: read as a stream into a parquet file.

A table is read in one transaction that may only read. Passwords come from where libpq looks for
them (``PGPASSWORD``, ``~/.pgpass``).
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from promptrank.basics.sql import ident, seconds
from promptrank.errors import DataError, InputError
from promptrank.places.database_names import table_name
from promptrank.places.streams import one_line, write_stream

_PLAIN = ("int2", "int4", "int8", "float4", "float8", "bool", "bytea", "text", "varchar", "name")
_NUMERIC = "numeric"
_CLOCKS = ("date", "timestamp", "timestamptz")
_LISTS = ("_int2", "_int4", "_int8", "_float4", "_float8", "_bool", "_text", "_varchar")
_EXTRA = "pip install 'promptrank[databases]'"
_CONNECT = 10  # seconds


def read_postgres(name: str, path: Path) -> set[str]:
    """Write the rows of ``postgresql://user@host/db#schema.table`` to a parquet file.

    Types that Arrow has come as they are. NUMERIC comes as text, so that no digit is lost. JSON,
    UUIDs, enums and whatever else Postgres has come as the text that Postgres writes; a date or
    time that is infinite comes as none.

    Returns:
        Columns of numbers that are text in the file.

    Raises:
        DataError: no connection, no such table, or what Postgres says is wrong.
        InputError: an address that is not taken.
    """
    database, parts = table_name(name, example="postgresql://user@host/db#schema.table")
    table = ".".join(map(ident, parts))
    with connected(database) as connection, connection.cursor() as cursor, told(name):
        limit = seconds()
        milliseconds = 0 if math.isinf(limit) else max(1, round(limit * 1000))
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute(f"SET LOCAL statement_timeout = {milliseconds}")
        cursor.execute("SET LOCAL TimeZone = 'UTC'")
        cursor.execute(f"SELECT * FROM {table} LIMIT 0")
        kinds = _kinds(cursor.fetch_arrow_table().schema)
        _refuse_deep_arrays(cursor, name, table, kinds)
        cursor.execute(f"SELECT {', '.join(map(_select, kinds, kinds.values()))} FROM {table}")
        write_stream(cursor.fetch_record_batch(), path, name)
    return {column for column, kind in kinds.items() if kind == _NUMERIC}


@contextmanager
def connected(database: str) -> Iterator[Any]:
    """A connection whose statements are one transaction; what is not committed is undone.

    Raises:
        DataError: there is none.
    """
    try:
        from adbc_driver_postgresql import dbapi
    except ImportError:
        raise InputError(f"postgresql:// needs the extra databases: {_EXTRA}") from None
    uri = database
    if "connect_timeout" not in uri and "PGCONNECT_TIMEOUT" not in os.environ:
        uri += f"{'&' if '?' in uri else '?'}connect_timeout={_CONNECT}"
    with told(database):
        connection = dbapi.connect(uri)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def told(name: str) -> Iterator[None]:
    """What the driver raises, as one sentence."""
    from adbc_driver_manager import Error

    try:
        yield
    except (Error, pa.ArrowException) as error:
        raise one_line(name, error) from None


def _kinds(schema: pa.Schema) -> dict[str, str]:
    """Column -> Postgres' name of its type."""
    return {f.name: (f.metadata or {}).get(b"POSTGRESQL:type", b"").decode() for f in schema}


def _select(name: str, kind: str) -> str:
    column = ident(name)
    if kind in (*_PLAIN, *_LISTS, _NUMERIC, "time"):
        return column
    if kind in _CLOCKS:  # the driver would turn infinity into a time of its own
        return f"CASE WHEN isfinite({column}) THEN {column} END AS {column}"
    return f"CAST({column} AS text) AS {column}"


def _refuse_deep_arrays(cursor: Any, name: str, table: str, kinds: dict[str, str]) -> None:
    """DataError for arrays of arrays, which the driver would give as one flat list."""
    deep = [column for column, kind in kinds.items() if kind in _LISTS]
    if not deep:
        return
    asked = ", ".join(f"bool_or(array_ndims({ident(column)}) > 1)" for column in deep)
    cursor.execute(f"SELECT {asked} FROM {table}")
    for column, odd in zip(deep, cursor.fetchone(), strict=True):
        if odd:
            raise DataError(
                f"{name}: column {column!r} has arrays of arrays; select it as to_jsonb(...) in a "
                "view, and name that"
            )
