"""Small pieces of SQL: quoting, ids as text, times as seconds, and errors with their place."""

import math
import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from promptrank.basics.plain_types import stand_in
from promptrank.errors import DataError, InputError

Connection = duckdb.DuckDBPyConnection

SECONDS = "PROMPTRANK_SQL_SECONDS"
_SECONDS = 600.0
_NO_UTF8 = re.compile(r"not (valid )?utf-?8|invalid (utf-?8|unicode)", re.IGNORECASE)
_CLOCKS = ("TIMESTAMP", "DATE")
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
EXACT = "DECIMAL(38,12)"
"""Sums of this type do not depend on the order of rows, so threads cannot change a digit."""


def ident(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A quoted SQL string."""
    return "'" + value.replace("'", "''") + "'"


def is_float(kind: str) -> bool:
    """Whether a DuckDB type can hold NaN."""
    return kind in ("FLOAT", "DOUBLE")


def is_number(kind: str) -> bool:
    """Whether a DuckDB type is numeric."""
    whole = kind.removeprefix("U") in _WHOLE
    return whole or is_float(kind) or kind.startswith("DECIMAL")


def text_of(expression: str, kind: str) -> str:
    """Ids and labels as text; whole floats lose their ``.0``, so that 7.0 and 7 are one id."""
    if kind == "VARCHAR":
        return expression
    if kind == "JSON":
        return f"{expression}->>'$'"
    if kind.startswith("DECIMAL"):
        return f"regexp_replace(CAST({expression} AS VARCHAR), '\\.0+$', '')"
    if is_float(kind):
        x = f"CAST({expression} AS DOUBLE)"
        return (
            f"CASE WHEN isnan({x}) THEN NULL WHEN abs({x}) < 1e15 AND {x} = trunc({x}) "
            f"THEN CAST(CAST({x} AS BIGINT) AS VARCHAR) "
            f"ELSE CAST({expression} AS VARCHAR) END"
        )
    return f"CAST({expression} AS VARCHAR)"


def number_of(expression: str) -> str:
    """A double, NULL where it is NaN or infinite."""
    return f"CASE WHEN isfinite(CAST({expression} AS DOUBLE)) THEN CAST({expression} AS DOUBLE) END"


def seconds_of(expression: str, kind: str, where: str) -> str:
    """Unix seconds as a double, NULL for an infinite time.

    Text is read as ISO 8601: `promptrank.tables.loading` has looked at all of it by then.

    Raises:
        DataError: the type is neither a number nor a timestamp.
    """
    if is_number(kind):
        return number_of(expression)
    if kind == "VARCHAR":
        return f"epoch(TRY_CAST({expression} AS TIMESTAMPTZ))"
    if kind.startswith(_CLOCKS):
        return f"epoch({expression})"
    raise DataError(
        f"{where}: {expression} is of type {kind}, not unix seconds or a timestamp; "
        "convert it under columns:, such as strptime(x, '%Y-%m-%d')"
    )


def clean_field(name: str, kind: str) -> str:
    """A column as a template may see it: NaN becomes NULL, and what has no Python value text.

    Nothing here can fail on a value, since most columns are never used.
    """
    column = ident(name)
    if is_float(kind):
        return f"CASE WHEN isnan({column}) THEN NULL ELSE {column} END AS {column}"
    if kind == "JSON":
        return f"{column}->>'$' AS {column}"
    if kind == "BLOB":
        # Text that older writers did not mark as text; what is none keeps DuckDB's escapes.
        return f"coalesce(TRY(decode({column})), CAST({column} AS VARCHAR)) AS {column}"
    plain = stand_in(kind)
    return column if plain is None else f"TRY_CAST({column} AS {plain}) AS {column}"


def pack(fields: Sequence[tuple[str, str]]) -> str:
    """A struct of (name, expression), or NULL where there is none."""
    if not fields:
        return "NULL"
    return "struct_pack(" + ", ".join(f"{ident(n)} := {e}" for n, e in fields) + ")"


def run(con: Connection, sql: str, where: str) -> Connection:
    """Run one statement; what DuckDB says is wrong becomes a DataError that names its place."""
    try:
        return con.execute(sql)
    except duckdb.Error as error:
        raise DataError(f"{where}: {explain(error)}") from error


def stream(con: Connection, sql: str, where: str, batch: int) -> pa.RecordBatchReader:
    """Run a query on a cursor of its own and read its rows, in order, as they come.

    What fails while they come is a DataError too.
    """
    cursor = con.cursor()
    try:
        with patience(cursor):
            reader = cursor.sql(sql).to_arrow_reader(batch)
    except duckdb.Error as error:
        raise DataError(f"{where}: {explain(error)}") from error
    return pa.RecordBatchReader.from_batches(reader.schema, _batches(cursor, reader, where))


def _batches(
    cursor: Connection, reader: pa.RecordBatchReader, where: str
) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            with patience(cursor):
                batch = reader.read_next_batch()
        except StopIteration:
            return
        except (duckdb.Error, pa.ArrowInvalid, OSError) as error:
            # Arrow passes on what DuckDB says, as an error of its own kind.
            raise DataError(f"{where}: {explain(error)}") from error
        yield batch


@contextmanager
def patience(con: Connection) -> Iterator[None]:
    """Interrupt what runs on a connection after the bound of `seconds`.

    Raises:
        duckdb.InterruptException: whoever waits for the rows sees it.
    """
    limit = seconds()
    if math.isinf(limit):
        yield
        return
    timer = threading.Timer(limit, con.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def seconds() -> float:
    """How long one statement may take, from ``PROMPTRANK_SQL_SECONDS``; infinite where it is 0.

    Raises:
        InputError: the variable holds no such number.
    """
    given = os.environ.get(SECONDS, "").strip()
    try:
        value = float(given) if given else _SECONDS
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise InputError(f"{SECONDS}: {given!r} is not a number of seconds; 0 means no bound")
    return value or math.inf


def explain(error: Exception) -> str:
    """DuckDB's message on one line, without its picture of the statement."""
    if "INTERRUPT Error" in str(error):
        return (
            f"stopped: it took more than {seconds():g} s, or more of the disk than is left; ask "
            f"for less, or set {SECONDS} to more seconds"
        )
    text = str(error).split("\nLINE ")[0]
    # What the CSV sniffer tried and could try: long, and it names UTF-8 whatever went wrong.
    text, searched, _ = text.partition("\nThe search space used was:")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if searched:
        lines.append(
            "(look for line endings of two kinds, LF and CRLF, and for unbalanced quotes; write "
            "the file again with one kind of line ending and one separator)"
        )
    if _NO_UTF8.search(text):
        lines.insert(0, "text is not valid UTF-8; save the file as UTF-8.")
    return " ".join(lines)[:600]


def columns(con: Connection, relation: str, where: str) -> dict[str, str]:
    """Column name -> DuckDB type of a table, view or query in brackets."""
    rows: list[Any] = run(con, f"DESCRIBE SELECT * FROM {relation}", where).fetchall()
    return {str(name): str(kind) for name, kind, *_ in rows}


def type_of(con: Connection, expression: str, relation: str, where: str) -> str:
    """The DuckDB type of an expression over a relation."""
    rows: list[Any] = run(
        con, f"DESCRIBE SELECT ({expression}) AS x FROM {relation}", where
    ).fetchall()
    return str(rows[0][1])
