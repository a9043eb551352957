"""A table's name to local files that hold its rows: the one place that knows which names there are.

What is not a local file is brought to a folder, one state of it, before anything is read: a build
reads its tables several times, and what it reads must not change between. Nothing is ever whole in
memory; the disk has to hold it.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from promptrank.basics.addresses import is_database, is_object, scheme_of
from promptrank.basics.paths import expanded
from promptrank.errors import DataError, InputError
from promptrank.places.delta_tables import is_delta, read_delta
from promptrank.places.iceberg_tables import METADATA, is_iceberg, read_iceberg
from promptrank.places.object_store import GLOB, fetch, matches
from promptrank.places.postgres import read_postgres
from promptrank.places.sqlite_tables import read_sqlite

_FILE = re.compile(r"\.(parquet|pq|csv|tsv|txt|json|jsonl|ndjson)(\.gz|\.zst)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TableFiles:
    """Local files with the rows of a table.

    Attributes:
        numbers: columns that hold numbers as text, to be typed as those of a text file are.
    """

    files: tuple[Path, ...]
    numbers: frozenset[str] = frozenset()


def is_elsewhere(name: str, root: Path) -> bool:
    """Whether a name is one that `table_files` takes: anything but local files and other URLs.

    Args:
        root: folder that relative paths are relative to.
    """
    if is_object(name) or is_database(name):
        return True
    return scheme_of(name) is None and _lake(name, root) is not None


def table_files(name: str, root: Path, folder: Path) -> TableFiles:
    """Bring a table to ``folder``.

    Raises:
        DataError: it is not there, or cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = len(list(folder.iterdir()))
    path = folder / f"{count:04}-table.parquet"
    try:
        if scheme_of(name) == "sqlite":
            return TableFiles((path,), frozenset(read_sqlite(name, root, path)))
        if is_database(name):
            return TableFiles((path,), frozenset(read_postgres(name, path)))
        if is_object(name):
            _refuse_offline(name)
        if (lake := _lake(name, root)) is not None:
            read, whole = lake
            read(whole, path)
            return TableFiles((path,))
        paths = []
        for number, item in enumerate(matches(name), count):
            # A key may hold anything; of it stays what says which kind of file it is, and whose.
            readable = re.sub(r"[^\w.-]", "-", item.rpartition("/")[2])[-100:]
            paths.append(folder / f"{number:04}-{readable}")
            fetch(item, paths[-1])
        return TableFiles(tuple(paths))
    except InputError as error:
        raise error if isinstance(error, DataError) else DataError(str(error)) from None


def _lake(name: str, root: Path) -> tuple[Callable[[str, Path], None], str] | None:
    """How the Delta or Iceberg table that a name is is read, and its name; None for any other."""
    if is_object(name) and any(sign in name for sign in GLOB):
        return None
    if is_object(name) and _FILE.search(name) and not name.endswith(METADATA):
        return None
    whole = name if is_object(name) else str(root / expanded(name))
    if is_iceberg(whole):
        return read_iceberg, whole
    return (read_delta, whole) if is_delta(whole) else None


def _refuse_offline(name: str) -> None:
    if os.environ.get("PROMPTRANK_OFFLINE", "0") not in ("", "0"):
        raise DataError(
            f"{name} is in an object store, and PROMPTRANK_OFFLINE is set; download it and give "
            "its local path"
        )
