"""A request file cut into blocks: the rows of one request, which should stand together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from promptrank.errors import ErrorRow, RowError
from promptrank.requests.cells import text
from promptrank.requests.format import COLUMNS, LOST, RowPart, Rows
from promptrank.requests.lost import (
    REQUEST_COLUMNS,
    Lost,
    candidates_in,
    joined,
    nameless,
    took_head,
)
from promptrank.requests.marks import FileMark, Marker, id_hash
from promptrank.requests.row_parts import parts

Errors = Callable[[ErrorRow], None]


@dataclass(frozen=True, slots=True)
class RowBlock:
    """The rows ``start`` to before ``end`` of a part of the file: one request.

    Attributes:
        scattered: how many more of its rows stand elsewhere in the same part.
        lost: how many lines were lost among its rows or beside them.
        headless: whether the line that held its own columns was lost.
    """

    rows: Rows
    start: int
    end: int
    scattered: int = 0
    lost: int = 0
    headless: bool = False


def blocks(
    path: Path,
    splits: set[str] | None,
    errors: Errors,
    marker: Marker | None = None,
    seen: dict[int, bool] | None = None,
) -> Iterator[RowBlock]:
    """The requests of ``splits``, no request id twice.

    Rows without a request id go to ``errors``, and so do rows of a request that stood elsewhere
    before. Where the two places are far apart, the request has been handed out by then and can no
    longer be marked as partial.

    Memory: a part of the file, and a hash for each request.

    Args:
        marker: is kept where the reader is. Reading begins at the mark that it bears.
        seen: hash of each id that stands before that mark -> whether its request is in splits.
    """
    marker = Marker() if marker is None else marker
    seen = {} if seen is None else seen
    for part, begins in _parts(path, errors, marker.mark):
        marker.mark = replace(begins, seen=len(seen))
        rows = part.rows
        first: dict[str, tuple[int, int, bool]] = {}
        again: dict[str, list[int]] = {}
        start = 0
        for name, run in groupby(rows["request_id"]):
            end = start + sum(1 for _ in run)
            chosen, key = in_splits(rows["split"][start], splits), id_hash(name)
            if key not in seen:
                headless = _headless(rows, start)
                seen[key] = chosen
                marker.ids.append(key | chosen)
                if chosen or headless:  # its part may have been lost too
                    first[name] = (start, end, headless)
            elif chosen or seen[key]:
                again.setdefault(name, []).extend(range(start, end))
            start = end
        for name in again:
            if name not in first:
                _set_aside(rows, name, again[name], errors)
        for name, (start, end, headless) in first.items():
            scattered = again.get(name, [])
            _set_aside(rows, name, scattered, errors)
            places = [*rows[LOST][start:end], *(rows[LOST][end : end + 1] or [part.after])]
            lost = sum(candidates_in(lines, name) for lines in places if lines is not None)
            yield RowBlock(rows, start, end, len(scattered), lost, headless)


def _headless(rows: Rows, i: int) -> bool:
    lost = rows[LOST][i]
    if lost is None:
        return False
    has = {name: rows[name][i] is not None for name in REQUEST_COLUMNS}
    return took_head(lost, rows["request_id"][i], has)


def in_splits(split: Any, splits: set[str] | None) -> bool:
    """Whether a request is wanted. One whose split cannot be read is, so that it is reported."""
    if splits is None:
        return True
    try:
        return text(split, "split") in splits
    except RowError:
        return True


def _parts(path: Path, errors: Errors, start: FileMark) -> Iterator[tuple[RowPart, FileMark]]:
    """Parts of the file, each cut where a request ends; rows without a request are left out.

    With each comes the mark from which reading gives that very part first.
    """
    columns = (*COLUMNS, LOST)
    held = RowPart({name: [] for name in columns}, after=start.lost)
    skipped, begins = start.skipped, start
    for raw in parts(path, start.part):
        for message in raw.bad:
            errors(ErrorRow(None, None, "data", "bad_row", message, 1))
        lost = held.after
        part = _named(raw, lost, errors)
        rows, after = part.rows, part.after
        if skipped:
            rows = {name: values[skipped:] for name, values in rows.items()}
        count = len(held.rows["request_id"])
        if count:
            rows = {name: held.rows[name] + rows[name] for name in columns}
        else:
            begins = FileMark(raw.place, skipped, lost)
        names = rows["request_id"]
        cut = len(names)
        while cut > 0 and names[cut - 1] == names[-1]:
            cut -= 1
        # A last request that stood earlier in the part too does not go on in the next one.
        cut = len(names) if names and names[-1] in names[:cut] else cut
        held = RowPart({name: values[cut:] for name, values in rows.items()}, after=after)
        if cut:
            behind = (rows[LOST][cut : cut + 1] or [after])[0]
            yield (
                RowPart({name: values[:cut] for name, values in rows.items()}, after=behind),
                begins,
            )
            # What is held is of this part alone: all rows that were held before have one id.
            begins = FileMark(raw.place, skipped + cut - count, lost)
        skipped = 0
    if held.rows["request_id"]:
        yield held, begins


def _named(part: RowPart, lost: Lost, errors: Errors) -> RowPart:
    """The rows that have a request id.

    Args:
        lost: lines lost behind the last row before this part.
    """
    rows = part.rows
    names = rows["request_id"]
    if lost is None and all(names):
        return part
    kept, before = [], []
    for i, name in enumerate(names):
        lost = joined(lost, rows[LOST][i])
        if name:
            kept.append(i)
            before.append(lost)
            lost = None
            continue
        candidate = _candidate(rows, i)
        errors(ErrorRow(None, candidate, "data", "null_key", "a row has no request_id", 1))
        lost = joined(lost, nameless([n for n in REQUEST_COLUMNS if rows[n][i] is not None]))
    named = {column: [values[i] for i in kept] for column, values in rows.items()}
    return RowPart(named | {LOST: before}, after=joined(lost, part.after))


def _set_aside(rows: Rows, name: str, places: list[int], errors: Errors) -> None:
    message = f"rows of {name} stand in several places; only those of the first are used"
    for i in places:
        errors(ErrorRow(name, _candidate(rows, i), "data", "scattered", message, 1))


def _candidate(rows: Rows, i: int) -> str | None:
    """What the row calls its candidate, as far as it can be read."""
    try:
        return text(rows["candidate_id"][i], "") or text(rows["item_id"][i], "")
    except RowError:
        return None
