"""A request file by parts: the columns of some thousand rows of parquet or JSONL, as they are."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from promptrank.basics.byte_order import opened_past_mark
from promptrank.basics.hints import near
from promptrank.errors import DataError, RowError
from promptrank.requests.cells import text
from promptrank.requests.decode import decode, labels, lists_of, tuples
from promptrank.requests.format import (
    COLUMNS,
    EVENT,
    LOST,
    PartPlace,
    RowPart,
    Rows,
    check_names,
)
from promptrank.requests.lost import REQUEST_COLUMNS, Lost, joined, nameless, piece_of

_EVENT = frozenset(EVENT)
_RECORDS = ("member", "source", "meta", "item", "context", "stats", "outcomes", "baseline")
_IDS = ("request_id", "item_id", "member_id", "query_id", "source_id", "candidate_id")
_TEXTS = (*_IDS, "split", "label_source")
_NUMBERS = ("time", "item_row", "position", "propensity", "weight", "logged_score")
_ROWS = 2048


def parts(path: Path, start: PartPlace | None = None) -> Iterator[RowPart]:
    """The file by some thousand rows, and what was wrong with lines that are not rows at all.

    Events come as tuples of the fields in `EVENT`; where a JSON line holds something else, that is
    passed on unchanged. Where parts begin is a matter of the file alone, wherever reading starts.

    Args:
        start: place of the first part that is wanted; what is before it is not decoded.
    """
    start = start or PartPlace()
    if not path.is_file():
        raise DataError(f"{path}: no such file; promptrank build writes one")
    if path.suffix == ".parquet":
        yield from _parquet(path, start)
    elif path.suffix == ".jsonl":
        yield from _jsonl(path, start)
    else:
        raise DataError(f"{path}: a request file ends in .parquet or .jsonl")


def check_columns(path: Path) -> None:
    """Refuse a parquet file that is damaged at its end, or has columns that are not the format's.

    Raises:
        DataError: it is so. Lines are looked at as they are read.
    """
    if path.suffix == ".parquet":
        with _opened(path) as file:
            _check_schema(path, file)


def digest_in(path: Path) -> str | None:
    """The digest of the item snapshot that a parquet file was built with, if it says so."""
    if path.suffix != ".parquet" or not path.is_file():
        return None
    with _opened(path) as file:
        digest = (file.schema_arrow.metadata or {}).get(b"promptrank.items")
    return digest.decode() if digest is not None else None


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: not a parquet file ({error})") from error


def _parquet(path: Path, start: PartPlace) -> Iterator[RowPart]:
    with _opened(path) as file:
        _check_schema(path, file)
        for group in range(start.offset, file.num_row_groups):
            before = 0
            for batch in _batches(path, file, groups=[group]):
                if group > start.offset or before >= start.before:
                    yield RowPart(rows_in(batch), place=PartPlace(group, before))
                before += batch.num_rows


def rows_in(batch: pa.RecordBatch) -> Rows:
    """The columns of a batch of rows."""
    rows: Rows = {n: _DECODERS.get(n, decode)(batch.column(n)) for n in batch.schema.names}
    empty = [None] * batch.num_rows
    return {name: rows.get(name, empty) for name in (*COLUMNS, LOST)}


def column_batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The given columns of a parquet file, as far as it has them, as they are.

    Raises:
        DataError: no request file.
    """
    with _opened(path) as file:
        check_names(path, file.schema_arrow.names)
        yield from _batches(path, file, [n for n in columns if n in file.schema_arrow.names])


def _batches(
    path: Path,
    file: pq.ParquetFile,
    columns: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(_ROWS, columns=columns, row_groups=groups)
    except (OSError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: is damaged ({first}); build it again") from None


def _events(array: Any) -> list[Any]:
    if pt.is_null(array.type) or pt.is_null(array.type.value_type):
        return [None if x is None else [] for x in array.to_pylist()]
    return lists_of(array, tuples(array.values, EVENT, {"outcomes": labels}))


_DECODERS = {"outcomes": labels, "history": _events}


def _check_schema(path: Path, file: pq.ParquetFile) -> None:
    check_names(path, file.schema_arrow.names)
    problems = []
    for field in file.schema_arrow:
        if field.name == "history" and _is_history(field.type):
            names = [f.name for f in _members(field.type)]
            problems += [
                f"{path}: history has no field {n!r}; {near(n, EVENT)}"
                for n in names
                if n not in EVENT
            ]
        kind, name = field.type, field.name
        text = pt.is_string(kind) or pt.is_large_string(kind)
        text = text or (pt.is_dictionary(kind) and pt.is_string(kind.value_type))
        record = pt.is_struct(kind) or pt.is_map(kind)
        number = pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)
        fits = (
            pt.is_null(kind)
            or (name in _TEXTS and text)
            or (name in _NUMBERS and number)
            or (name in _RECORDS and record)
            or (name == "query" and (record or text))
            or (name == "history" and _is_history(kind))
        )
        if not fits:
            wanted = "a list of structs" if name == "history" else "a struct"
            wanted = "text" if name in _TEXTS else "a number" if name in _NUMBERS else wanted
            problems.append(f"{path}: column {name!r} is {kind}, not {wanted}")
    if problems:
        raise DataError("\n".join(problems))


def _members(kind: pa.DataType) -> list[Any]:
    return [] if pt.is_null(kind.value_type) else list(kind.value_type)


def _is_history(kind: pa.DataType) -> bool:
    if not (pt.is_list(kind) or pt.is_large_list(kind)):
        return False
    return bool(pt.is_null(kind.value_type) or pt.is_struct(kind.value_type))


def _jsonl(path: Path, start: PartPlace) -> Iterator[RowPart]:
    known = set(COLUMNS)
    waiting: list[dict[str, Any]] = []
    lost: list[Lost] = []
    bad: list[str] = []
    before: Lost = None
    place = start
    with opened_past_mark(path) as file:
        end = file.seek(start.offset) if start.offset else file.tell()
        for number, line in enumerate(file, start.before + 1):
            end += len(line)
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"), parse_constant=_constant)
            except (ValueError, RecursionError) as error:
                bad.append(f"{path}:{number}: not JSON in UTF-8 ({error})")
                before = joined(before, piece_of(line))
                continue
            if not isinstance(row, dict):
                bad.append(f"{path}:{number}: not an object")
                continue
            if not row.keys() <= known:
                strange = [n for n in row if n not in known]
                raise DataError(
                    f"{path}:{number}: no column {strange[0]!r}; {near(strange[0], COLUMNS)}"
                )
            try:
                row["request_id"] = text(row.get("request_id"), "request_id")
            except RowError as error:
                bad.append(f"{path}:{number}: {error}")
                before = joined(
                    before, nameless([n for n in REQUEST_COLUMNS if row.get(n) is not None])
                )
                continue
            waiting.append(row)
            lost.append(before)
            before = None
            if len(waiting) == _ROWS:
                yield RowPart(_columns(waiting) | {LOST: lost}, bad, place=place)
                waiting, lost, bad = [], [], []
                place = PartPlace(end, number)
    yield RowPart(_columns(waiting) | {LOST: lost}, bad, before, place)


def _constant(name: str) -> float | None:
    """NaN counts as missing, as in tables; an infinity is kept, for the reader to judge."""
    return None if name == "NaN" else float(name)


def _columns(rows: list[dict[str, Any]]) -> Rows:
    columns = {name: [row.get(name) for row in rows] for name in COLUMNS}
    columns["history"] = [_plain_events(events) for events in columns["history"]]
    columns["outcomes"] = [_given(outcomes) for outcomes in columns["outcomes"]]
    return columns


def _plain_events(events: Any) -> Any:
    """Events as tuples; what is not an event stays as it is, and the reader reports it."""
    if not isinstance(events, list):
        return events
    return [
        (*map(e.get, EVENT[:-1]), _given(e.get("outcomes")))
        if isinstance(e, dict) and e.keys() <= _EVENT
        else e
        for e in events
    ]


def _given(outcomes: Any) -> Any:
    if isinstance(outcomes, dict) and None in outcomes.values():
        return {k: v for k, v in outcomes.items() if v is not None}
    return outcomes
