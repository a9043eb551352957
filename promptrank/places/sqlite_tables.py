"""Tables of SQLite files, read as a stream into a parquet file.

By Python's own sqlite3: SQLite has a type for each value and none for a column, and ADBC's driver
tells a column by its first rows, where all of them have to be looked at.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.files import beside
from promptrank.basics.sql import ident
from promptrank.errors import DataError, InputError
from promptrank.places.database_names import table_name

_ROWS = 10_000
_WAIT = 30.0  # seconds for whoever writes the file
_TYPES = {"integer": pa.int64(), "real": pa.float64(), "text": pa.string(), "blob": pa.binary()}


def sqlite_file(name: str, root: Path) -> tuple[Path, str]:
    """The file and the table of ``sqlite:///folder/file.db#table`` or ``sqlite:file.db#table``.

    Raises:
        InputError: it names no table.
    """
    database, parts = table_name(name, example="sqlite:file.db#table")
    if len(parts) != 1:
        raise InputError(f"{name}: a table of SQLite has no schema")
    path = database.removeprefix("sqlite:")
    return root / (path.removeprefix("//") if path.startswith("//") else path), parts[0]


def read_sqlite(name: str, root: Path, path: Path) -> set[str]:
    """Write the rows of a table or view to a parquet file.

    A column whose values are all of one kind has that type. Whole numbers beside others come as
    text that holds numbers; any other mixture is text, in which floats have their shortest form.

    Args:
        root: folder that a path without a leading slash is relative to.

    Returns:
        Columns of numbers that are text in the file.

    Raises:
        DataError: no such file or table, or bytes beside text.
    """
    file, table = sqlite_file(name, root)
    if not file.is_file():
        raise DataError(f"{name}: no file {file}")
    with opened(file, name) as connection:
        connection.execute("BEGIN")  # what is looked at is what is read
        rows = connection.execute(f"SELECT * FROM {ident(table)} LIMIT 0")
        names = [str(column[0]) for column in rows.description]
        kinds = {column: _kinds(connection, table, column) for column in names}
        for column, given in kinds.items():
            if "blob" in given and len(given) > 1:
                raise DataError(f"{name}: column {column!r} has bytes beside {given - {'blob'}}")
        types = [_TYPES[next(iter(k))] if len(k) == 1 else pa.string() for k in kinds.values()]
        schema = pa.schema(list(zip(names, types, strict=True)))
        rows = connection.execute(f"SELECT * FROM {ident(table)}")
        with beside(path) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
            while some := rows.fetchmany(_ROWS):
                columns = zip(*some, strict=True)
                arrays = [_array(c, f.type) for c, f in zip(columns, schema, strict=True)]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return {column for column, given in kinds.items() if given == {"integer", "real"}}


@contextmanager
def opened(file: Path, name: str, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, or one that writes what is committed; errors name ``name``.

    Where the disk is full, a file that was not there before is not left.

    Raises:
        DataError: what SQLite says is wrong; of a full disk its cause is an OSError.
    """
    mode, there = "rwc" if write else "ro", file.exists()
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(file.absolute()))}?mode={mode}",
            uri=True,
            timeout=_WAIT,
            isolation_level=None,
        )
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
            raise DataError(f"{name}: {error}") from None
        # Whoever else has opened it finds the disk full too, and so loses nothing by this.
        if not there and file.is_file() and file.stat().st_size == 0:
            file.unlink()
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        raise DataError(
            f"{name}: {full.strerror}; nothing was written; free some space, and give the same "
            "command again, or name a file on another disk"
        ) from full


def _kinds(connection: sqlite3.Connection, table: str, column: str) -> set[str]:
    asked = f"SELECT DISTINCT typeof({ident(column)}) FROM {ident(table)}"
    return {str(kind) for (kind,) in connection.execute(asked)} - {"null"}


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        return pa.array([v if v is None or type(v) is str else repr(v) for v in values], kind)
    return pa.array(values, kind)
