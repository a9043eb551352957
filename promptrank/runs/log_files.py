"""The files of a server's log: requests and scores, private, each written beside and renamed.

A log is a folder. In it a task has a folder of its own name (``movies/like/``), and there each file
is named by what is in it, when it was written, and by whom::

    requests-20261127T205901.512-4711-3.parquet        # or .jsonl, where a table cannot hold them
    scores-served-20261127T205901.512-4711-3.parquet   # of one origin
    scores-new-20261127T205901.512-4711-4.parquet      # of a shadow
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.files import beside
from promptrank.basics.owner import owned
from promptrank.errors import DataError
from promptrank.requests.as_rows import Row, as_one, rows_in, shape_of, tables_of
from promptrank.requests.write import line_of
from promptrank.scores.origin import METADATA, Origin

SERVED = "served"
"""The name of the scores that were answered; shadows have others."""
SERVED_AT = "served_at"
"""In a logged request's ``meta``: when it was answered, in unix seconds."""
WITHOUT_POLICY = "without_policy"
"""In a logged request's ``meta``: no policy step ran, as for pairs that are scored one by one."""
_FILE = re.compile(
    r"(?:requests|scores-(?P<ranker>[\w.+-]+?))-(?P<order>\d{8}T\d{6}\.\d{3}-\d+-\d+)"
    r"\.(?:parquet|jsonl)"
)
_KINDS = 8  # tables that are written at a time; what has other fields or types goes into lines
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class LogFiles:
    """What a log has of one task, oldest first.

    Attributes:
        task: its name.
        requests: request files.
        scores: ``served``, or the name of a shadow -> its scores files.
    """

    task: str
    requests: tuple[Path, ...]
    scores: Mapping[str, tuple[Path, ...]]


def open_log(folder: Path) -> None:
    """Make a log's folder, which its owner alone may look into.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def log_tasks(folder: Path) -> list[str]:
    """Names of the tasks of which a log has anything.

    Raises:
        DataError: no folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such log; `promptrank serve --log` writes one")
    places = {path.parent for path in folder.rglob("*") if _FILE.fullmatch(path.name)}
    return sorted(place.relative_to(folder).as_posix() for place in places)


def log_files(folder: Path, task: str) -> LogFiles:
    """The files that a log has of a task.

    Raises:
        DataError: none.
    """
    requests: list[tuple[str, Path]] = []
    scores: dict[str, list[tuple[str, Path]]] = {}
    place = folder / task
    for path in place.iterdir() if place.is_dir() else ():
        if match := _FILE.fullmatch(path.name):
            ranker = match["ranker"]
            kept = requests if ranker is None else scores.setdefault(ranker, [])
            kept.append((match["order"], path))
    if not requests:
        known = ", ".join(log_tasks(folder)) or "none"
        raise DataError(f"{folder}: nothing of {task} is in this log; tasks: {known}")
    return LogFiles(
        task,
        tuple(path for _, path in sorted(requests)),
        {n: tuple(path for _, path in sorted(files)) for n, files in sorted(scores.items())},
    )


class StagedRequests:
    """Requests of one task on their way into files: tables, and lines where those cannot be."""

    def __init__(self) -> None:
        self._tables: dict[str, list[pa.Table]] = {}  # by shape
        self._lines: list[bytes] = []

    def add(self, requests: Sequence[Sequence[Row]]) -> None:
        """Take requests in, each as its rows, in the form in which they will be written.

        Where one of them cannot be, none is taken in.
        """
        shapes: dict[str | None, list[Sequence[Row]]] = {}
        for rows in requests:
            shapes.setdefault(shape_of(rows), []).append(rows)
        made: dict[str, list[pa.Table]] = {}
        lines: list[bytes] = []
        for shape, group in shapes.items():
            tables, others = ([], group) if shape is None else tables_of(group)
            if shape is not None and tables:
                made[shape] = list(tables)
            lines += [line_of(row) for rows in others for row in rows]
        for shape, tables in made.items():
            self._tables.setdefault(shape, []).extend(tables)
        self._lines += lines

    def write(self, folder: Path, task: str) -> list[Path]:
        """Write what was taken in; the files, all of them or none."""
        written: list[Path] = []
        try:
            for path in self._write(folder, task):
                written.append(path)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise
        return written

    def _write(self, folder: Path, task: str) -> Iterator[Path]:
        kinds = [kind for tables in self._tables.values() for kind in as_one(tables)]
        kinds.sort(key=len, reverse=True)
        for table in kinds[:_KINDS]:
            yield _write_table(_path(folder, task, "requests", ".parquet"), table)
        lines = list(self._lines)
        lines += [line_of(row) for table in kinds[_KINDS:] for row in rows_in(table)]
        if lines:
            path = _path(folder, task, "requests", ".jsonl")
            with _private(path) as file:
                file.writelines(lines)
            yield path


def write_logged_scores(
    folder: Path, task: str, ranker: str, rows: Sequence[pa.RecordBatch], origin: Origin
) -> Path:
    """Write scores of one origin."""
    table = pa.Table.from_batches(rows).replace_schema_metadata({METADATA: origin.to_json()})
    return _write_table(_path(folder, task, f"scores-{ranker}", ".parquet"), table)


def _path(folder: Path, task: str, what: str, suffix: str) -> Path:
    place = folder
    for part in task.split("/"):  # with `parents` those between would be open to all
        place = place / part
        place.mkdir(mode=0o700, exist_ok=True)
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    return place / f"{what}-{now}-{os.getpid()}-{next(_numbers)}{suffix}"


def _write_table(path: Path, table: pa.Table) -> Path:
    options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}
    with _private(path) as file:
        pq.write_table(table, file, **options)
    return path


@contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    """A file that its owner alone may read, under its name once all is in it."""
    with (
        owned(path, "serve"),
        beside(path) as part,
        os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file,
    ):
        yield file
        file.flush()
        os.fsync(file.fileno())
