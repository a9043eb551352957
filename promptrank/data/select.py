"""Facts about a request file that need no reading of whole requests: ids, counts, digest."""

import hashlib
from pathlib import Path

import duckdb

from promptrank.errors import DataError


def request_ids(path: Path, splits: set[str] | None = None, limit: int | None = None) -> list[str]:
    """Distinct ids of the requests of ``splits``, in the order of their MD5.

    That order has nothing to do with time or subject and stays as it is when requests are added,
    so its first ``limit`` are a sample that can be drawn again.
    """
    name = str(path).replace("'", "''")
    if path.suffix == ".parquet":
        source = f"read_parquet('{name}')"
    else:
        columns = "{request_id: 'VARCHAR', split: 'VARCHAR'}"
        source = f"read_json('{name}', columns={columns}, format='newline_delimited')"
    where, values = "", []
    if splits is not None:
        where = f"WHERE split IN ({', '.join('?' * len(splits))})"
        values = sorted(splits)
    top = f"LIMIT {int(limit)}" if limit is not None else ""
    query = (
        f"SELECT request_id FROM {source} {where} GROUP BY request_id "
        f"ORDER BY md5(request_id), request_id {top}"
    )
    try:
        with duckdb.connect() as connection:
            return [str(row[0]) for row in connection.execute(query, values).fetchall()]
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as a request file: {first}") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a request file and of the item snapshot beside it."""
    found = hashlib.sha256()
    for part in (path, path.with_name(f"{path.stem}.items.arrow")):
        if part.is_file():
            with part.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()
