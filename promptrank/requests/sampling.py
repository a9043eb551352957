"""Facts about a request file that need no reading of whole requests: ids, counts, digest."""

import hashlib
from collections.abc import Iterator
from heapq import nsmallest
from pathlib import Path

import duckdb

from promptrank.basics.digests import files_digest
from promptrank.basics.door import reading
from promptrank.basics.sql import explain, literal
from promptrank.errors import DataError
from promptrank.requests.format import items_path_of
from promptrank.requests.row_blocks import in_splits
from promptrank.requests.row_parts import check_columns, parts


def request_ids(path: Path, splits: set[str] | None = None, limit: int | None = None) -> list[str]:
    """Distinct ids of the requests of ``splits``, in the order of their MD5.

    That order has nothing to do with time or subject and stays as it is when requests are added,
    so its first ``limit`` are a sample that can be drawn again. Rows without a request id, and
    lines that are no rows, are skipped here; `read_requests` reports them.
    """
    if path.suffix != ".parquet":
        ids = _ids_in_lines(path, splits)
        return sorted(ids, key=_order) if limit is None else nsmallest(limit, ids, key=_order)
    check_columns(path)
    where, values = _of_splits(splits)
    top = f"LIMIT {int(limit)}" if limit is not None else ""
    query = (
        "SELECT id FROM (SELECT CAST(request_id AS VARCHAR) AS id, * FROM "
        f"read_parquet({literal(str(path))}, hive_partitioning = false)) WHERE id <> '' {where} "
        f"GROUP BY id ORDER BY md5(id), id {top}"
    )
    try:
        with reading(path) as connection:
            return [str(row[0]) for row in connection.execute(query, values).fetchall()]
    except duckdb.Error as error:
        raise DataError(f"{path}: cannot be read as a request file: {explain(error)}") from None


def request_count(path: Path, splits: set[str] | None = None) -> int | None:
    """How many requests of ``splits`` a parquet file has; None where only reading it would tell."""
    if path.suffix != ".parquet":
        return None
    check_columns(path)
    where, values = _of_splits(splits)
    query = (
        "SELECT count(DISTINCT CAST(request_id AS VARCHAR)) FROM "
        f"read_parquet({literal(str(path))}, hive_partitioning = false) "
        f"WHERE request_id <> '' {where}"
    )
    try:
        with reading(path) as connection:
            row = connection.execute(query, values).fetchone()
    except duckdb.Error as error:
        raise DataError(f"{path}: cannot be read as a request file: {explain(error)}") from None
    return int(row[0]) if row is not None else None


def _of_splits(splits: set[str] | None) -> tuple[str, list[str]]:
    if splits is None:
        return "", []
    return f"AND split IN ({', '.join('?' * len(splits))})", sorted(splits)


def _ids_in_lines(path: Path, splits: set[str] | None) -> Iterator[str]:
    """Ids in the order of the file; a request's first row says which part it is in."""
    seen: set[str] = set()
    for part in parts(path):
        rows = part.rows
        for name, split in zip(rows["request_id"], rows["split"], strict=True):
            if name and name not in seen:
                seen.add(name)
                if in_splits(split, splits):
                    yield name


def _order(name: str) -> bytes:
    return hashlib.md5(name.encode(), usedforsecurity=False).digest()


def requests_digest(path: Path) -> str:
    """SHA-256 of a request file and of the item snapshot beside it."""
    return files_digest(p for p in (path, items_path_of(path)) if p.is_file())
