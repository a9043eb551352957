"""Scores files, read and checked: the one reader."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import json as arrow_json

from promptrank.basics.byte_order import opened_past_mark
from promptrank.basics.digests import file_digest
from promptrank.basics.hints import near
from promptrank.basics.json_files import json_object
from promptrank.basics.seals import config_beside, read_sealed, sealed_object, written_digest
from promptrank.errors import DataError, RowError
from promptrank.requests.cells import text
from promptrank.schema.task import Task
from promptrank.scores.columns import KEY, LEAST, schema_of
from promptrank.scores.origin import AGAIN, METADATA, Origin, origin_of
from promptrank.scores.scores import Scores


def config_of(path: Path) -> Path:
    """The file beside a scores file that says how it was made."""
    return config_beside(path)


def read_scores(path: Path, task: Task, name: str) -> Scores:
    """A scores file (.parquet or .jsonl) of a task.

    A file that `rank` wrote says where it comes from. One from elsewhere needs ``request_id``,
    ``candidate_id`` and ``score`` (null where there is none), and may have ``probability``.

    Args:
        name: the task's.

    Raises:
        DataError: no scores file, one that is not what `rank` wrote beside the config that says so,
            scores of another task, a candidate that comes twice, or numbers that are none.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such scores file; `promptrank rank` writes one")
    check_digest(path)
    table, names, metadata = _parquet(path) if path.suffix == ".parquet" else _lines(path, task)
    missing = [column for column in LEAST.names if column not in table.column_names]
    if missing:
        hint = near(missing[0], names)
        raise DataError(f"{path}: not a scores file: it has no column {missing[0]}; {hint}")
    origin = stated_origin(path, metadata)
    if origin.task is not None and origin.task != name:
        raise DataError(f"{path}: scores of task {origin.task}, not of {name}")
    scores = Scores(_typed(path, table, task), origin)
    _check(path, scores)
    return scores


def check_digest(path: Path) -> None:
    """Hold a scores file against the digest that the config beside it states, if any.

    Raises:
        DataError: it is not what was written.
    """
    stated = written_digest(path, config_of(path))
    if stated is not None and path.is_file() and file_digest(path) != stated:
        raise DataError(
            f"{path}: is not what was written: it was damaged or changed since; {AGAIN}, or remove "
            f"{config_of(path).name} if the change is yours"
        )


_Read = tuple[pa.Table, list[str], Mapping[bytes, bytes]]  # and names that stand in the file


def _parquet(path: Path) -> _Read:
    try:
        # The name of a folder is never a column.
        table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None
    return table, table.column_names, table.schema.metadata or {}


def _lines(path: Path, task: Task) -> _Read:
    """JSON lines by the types that the columns have, so that an id stays the text that it is."""
    # Columns that scores do not have may hold anything, of several types even.
    options = arrow_json.ParseOptions(
        explicit_schema=schema_of(task), unexpected_field_behavior="ignore"
    )
    try:
        if not path.stat().st_size:  # a run that scored nothing
            return LEAST.empty_table(), LEAST.names, {}
        try:
            with opened_past_mark(path) as file:
                table = arrow_json.read_json(file, parse_options=options)
        except pa.ArrowInvalid:
            table = _line_by_line(path, task)
        given = _first_keys(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None
    # A column that is named in the schema appears even where no line has it.
    kept = [
        name
        for name in table.column_names
        if name in given or table.column(name).null_count < len(table)
    ]
    return table.select(kept), given, {}


def _first_keys(path: Path) -> list[str]:
    with opened_past_mark(path) as lines:
        return list(json_object(next(lines, b"{}"), f"{path}:1", constants=True))


def _line_by_line(path: Path, task: Task) -> pa.Table:
    """As `_lines`, slowly: a whole number may stand for text, as in request files."""
    schema = schema_of(task)
    texts = [field.name for field in schema if field.type == pa.string()]
    rows = []
    with opened_past_mark(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json_object(line, f"line {number}", constants=True)
                rows.append(row | {n: text(row[n], n) for n in texts if n in row})
            except DataError as error:
                raise ValueError(str(error)) from None
            except RowError as error:
                raise ValueError(f"line {number}: {error}") from None
    return pa.Table.from_pylist(rows, schema=schema)


def _unreadable(path: Path, error: Exception) -> DataError:
    lines = str(error).splitlines() or [type(error).__name__]
    return DataError(f"{path}: not a scores file: {lines[0]}")


def _typed(path: Path, table: pa.Table, task: Task) -> pa.Table:
    """The columns that scores may have, in the types that they have; others are left out."""
    columns: dict[str, Any] = {}
    for field in schema_of(task):
        if field.name not in table.column_names:
            continue
        try:
            columns[field.name] = table.column(field.name).cast(field.type)
        except pa.ArrowException as error:
            raise DataError(f"{path}: column {field.name}: {str(error).splitlines()[0]}") from None
    return pa.table(columns)


def stated_origin(path: Path, metadata: Mapping[bytes, bytes]) -> Origin:
    """From the file itself, else from the config beside it; else nobody knows.

    Args:
        metadata: of the file.

    Raises:
        DataError: a statement that is damaged, or none of this promptrank.
    """
    own = metadata.get(METADATA.encode())
    beside = config_of(path)
    if own is not None:
        where = f"{path}: its origin"
        return origin_of(sealed_object(own, where, then=AGAIN), where)
    if beside.is_file():
        return origin_of(read_sealed(beside, then=AGAIN), str(beside))
    return Origin(f"scores:{path}")


def _check(path: Path, scores: Scores) -> None:
    for name in KEY:
        if scores.table.column(name).null_count:
            raise DataError(f"{path}: {scores.table.column(name).null_count} rows have no {name}")
    if len(scores.index) < len(scores):
        key = next(key for key, count in Counter(scores.keys).items() if count > 1)
        raise DataError(
            f"{path}: request {key[0]}, candidate {key[1]} comes twice; give each candidate of a "
            "request one row"
        )
    score = scores.table.column("score").drop_null()
    odd = len(score) - (pc.sum(pc.is_finite(score)).as_py() or 0)
    if odd:
        raise DataError(f"{path}: {odd} scores are NaN or infinite; leave them empty instead")
