"""A query log: which share of the traffic its most frequent queries are, and which these are.

A query is its key to the letter: nothing is lower-cased, trimmed or corrected, since the prompt
that a task makes of a query sees those letters too.

Traffic drifts, so a head is also measured on traffic that it was not chosen by: the queries that
are frequent in the earlier half of the log, on the later half.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from promptrank.basics.door import reading
from promptrank.basics.hints import near
from promptrank.basics.sql import Connection, ident, number_of, run, seconds_of, text_of
from promptrank.errors import DataError
from promptrank.tables.reading import table_rows

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Of the different queries: where the curve is told."""
QUERIES = ("query_id", "query", "text")
"""Columns that are taken for the query where none is named; the first that is there."""
COUNT, TIME = "count", "time"
_KINDS = {".csv": "csv", ".parquet": "parquet", ".jsonl": "json"}
_SLACK = 1e-12  # of rounding, for a share that is reached to the letter


@dataclass(frozen=True, slots=True)
class Head:
    """So many of the most frequent queries, and what they are of the traffic.

    Attributes:
        queries: how many different ones.
        traffic: share of the traffic that they were chosen by, 0 to 1.
        later: share of the later half that as frequent a head of the earlier half is; None where
            the log does not tell early from late.
    """

    queries: int
    traffic: float
    later: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage curve of a log.

    Attributes:
        queries: different ones.
        traffic: queries asked, every time counted.
        curve: the head at each of `SHARES` of the different queries.
        share: that was wanted of the traffic.
        head: the smallest that has it; its ``later`` is that of the head that has it in the
            earlier half.
        keys: of the head, the most frequent first.
    """

    queries: int
    traffic: float
    curve: tuple[Head, ...]
    share: float
    head: Head
    keys: tuple[str, ...]


def log_coverage(
    path: Path,
    share: float,
    *,
    query: str | None = None,
    count: str | None = None,
    time: str | None = None,
) -> Coverage:
    """The coverage of a log in a file (.csv, .parquet, .jsonl).

    Args:
        query, count, time: its columns; `QUERIES`, `COUNT` and `TIME` where left out and there.
            Without a count each row is one query; without both, rows are in their order of time.

    Raises:
        DataError: no such file or column, or a log without a query.
    """
    if path.suffix not in _KINDS or not path.is_file():
        what = "ends in none of" if path.is_file() else "there is no such file; a log ends in"
        raise DataError(f"{path}: {what} {', '.join(_KINDS)}")
    with _database(path) as con:
        ids = {query} if query is not None else set(QUERIES)
        rows = table_rows(con, "--log", [str(path)], _KINDS[path.suffix], ids)
        columns = {
            str(name): str(kind)
            for name, kind, *_ in run(con, f"DESCRIBE SELECT * FROM {rows}", str(path)).fetchall()
        }
        key = _column(path, columns, "--query", query, QUERIES)
        if key is None:
            raise DataError(
                f"{path}: no column {' or '.join(QUERIES)}; name the query's by --query"
            )
        number = _column(path, columns, "--count", count, (COUNT,))
        at = _column(path, columns, "--time", time, (TIME,))
        parts = [
            f"{text_of(ident(key), columns[key])} AS key",
            f"{number_of(ident(number))} AS n" if number is not None else "1.0 AS n",
        ]
        if at is not None:
            parts.append(f"{seconds_of(ident(at), columns[at], str(path))} AS moment")
        else:
            parts.append(
                "NULL AS moment" if number is not None else "row_number() OVER () AS moment"
            )
        run(con, f"CREATE TABLE log AS SELECT {', '.join(parts)} FROM {rows}", str(path))
        return _coverage(con, share, str(path))


def coverage_of(asked: Iterable[tuple[str, float | None]], share: float) -> Coverage:
    """The coverage of queries that were asked, each with its time, such as those of requests."""
    rows = list(asked)
    table = pa.table(
        {
            "key": pa.array([key for key, _ in rows], pa.string()),
            "n": pa.array([1.0] * len(rows), pa.float64()),
            "moment": pa.array([at for _, at in rows], pa.float64()),
        }
    )
    with _database() as con:
        con.register("given", table)
        run(con, "CREATE TABLE log AS SELECT * FROM given", "requests")
        return _coverage(con, share, "the requests")


@contextmanager
def _database(*files: Path) -> Iterator[Connection]:
    with reading(*files) as con:
        con.execute("CREATE SCHEMA src; CREATE SCHEMA pr")
        yield con


def _column(
    path: Path, columns: dict[str, str], option: str, named: str | None, usual: Sequence[str]
) -> str | None:
    if named is not None and named not in columns:
        raise DataError(f"{path}: {option}: no column {named!r}; {near(named, list(columns))}")
    return named if named is not None else next((n for n in usual if n in columns), None)


def _coverage(con: Connection, share: float, where: str) -> Coverage:
    try:
        con.execute(
            "DELETE FROM log WHERE key IS NULL OR key = '' OR n IS NULL OR n <= 0; "
            "CREATE TABLE whole AS SELECT key, sum(n) AS n FROM log GROUP BY key"
        )
        counts = _counts(con, "whole")
        if not len(counts):
            raise DataError(f"{where}: holds no query; look at --query, --count and --time")
        earlier, on_later = _halves(con)
        head = _reaching(counts, share)
        keys = con.execute("SELECT key FROM whole ORDER BY n DESC, key LIMIT ?", [head]).fetchall()
    except duckdb.Error as error:
        raise DataError(f"{where}: {str(error).splitlines()[0]}") from None

    def covered(queries: int, early: int) -> Head:
        later = None if on_later is None else float(on_later[:early].sum())
        return Head(queries, float(counts[:queries].sum() / counts.sum()), later)

    curve = tuple(covered(_part(len(counts), part), _part(len(earlier), part)) for part in SHARES)
    reached = covered(head, _reaching(earlier, share) if len(earlier) else 0)
    names = tuple(str(key) for (key,) in keys)
    return Coverage(len(counts), float(counts.sum()), curve, share, reached, names)


def _halves(con: Connection) -> "tuple[np.ndarray, np.ndarray | None]":
    """Counts of the earlier half, frequent first, and those queries' shares of the later half."""
    row = con.execute(
        "SELECT min(moment) FROM (SELECT moment, sum(n) OVER (ORDER BY moment) AS so_far FROM log "
        "WHERE moment IS NOT NULL) WHERE so_far >= "
        "(SELECT sum(n) / 2 FROM log WHERE moment IS NOT NULL)"
    ).fetchone()
    boundary = row[0] if row is not None else None
    if boundary is None:
        return np.array([]), None
    for name, sign in (("earlier", "<="), ("later", ">")):
        con.execute(
            f"CREATE TABLE {name} AS SELECT key, sum(n) AS n FROM log WHERE moment {sign} ? "
            "GROUP BY key",
            [boundary],
        )
    later = con.execute(
        "SELECT coalesce(l.n, 0) AS n FROM earlier e LEFT JOIN later l USING (key) "
        "ORDER BY e.n DESC, e.key"
    ).fetchnumpy()["n"]
    total = _counts(con, "later").sum()
    return _counts(con, "earlier"), np.asarray(later, float) / total if total else None


def _counts(con: Connection, table: str) -> np.ndarray:
    """How often each query was asked, frequent first."""
    counts = con.execute(f"SELECT n FROM {table} ORDER BY n DESC, key").fetchnumpy()["n"]
    return np.asarray(counts, float)


def _part(number: int, part: float) -> int:
    return math.ceil(number * part - _SLACK)


def _reaching(counts: np.ndarray, share: float) -> int:
    """How many of the most frequent reach a share of the traffic."""
    so_far = np.cumsum(counts) / counts.sum()
    return min(int(np.searchsorted(so_far, share - _SLACK)) + 1, len(counts))
