"""A request file cut into blocks: the rows of one request, which should stand together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from promptrank.errors import ErrorRow, RowError
from promptrank.requests.cells import text
from promptrank.requests.format import COLUMNS, Rows, parts

Errors = Callable[[ErrorRow], None]


@dataclass(frozen=True, slots=True)
class RowBlock:
    """The rows ``start`` to before ``end`` of a part of the file: one request.

    Attributes:
        scattered: how many more of its rows stand elsewhere in the same part.
    """

    rows: Rows
    start: int
    end: int
    scattered: int = 0


def blocks(path: Path, splits: set[str] | None, errors: Errors) -> Iterator[RowBlock]:
    """The requests of ``splits``, no request id twice.

    Rows without a request id go to ``errors``, and so do rows of a request that stood elsewhere
    before. Where the two places are far apart, the request has been handed out by then and can no
    longer be marked as partial.

    Memory: a part of the file, and a hash for each request.
    """
    seen: dict[int, bool] = {}  # hash of the id -> whether the request is in splits
    for rows in _parts(path, errors):
        first: dict[str, tuple[int, int]] = {}
        again: dict[str, list[int]] = {}
        start = 0
        for name, run in groupby(rows["request_id"]):
            end = start + sum(1 for _ in run)
            chosen, key = in_splits(rows["split"][start], splits), hash(name)
            if key not in seen:
                seen[key] = chosen
                if chosen:
                    first[name] = (start, end)
            elif chosen or seen[key]:
                again.setdefault(name, []).extend(range(start, end))
            start = end
        for name in again:
            if name not in first:
                _set_aside(rows, name, again[name], errors)
        for name, (start, end) in first.items():
            scattered = again.get(name, [])
            _set_aside(rows, name, scattered, errors)
            yield RowBlock(rows, start, end, len(scattered))


def in_splits(split: Any, splits: set[str] | None) -> bool:
    """Whether a request is wanted. One whose split cannot be read is, so that it is reported."""
    if splits is None:
        return True
    try:
        return text(split, "split") in splits
    except RowError:
        return True


def _parts(path: Path, errors: Errors) -> Iterator[Rows]:
    """Parts of the file, each cut where a request ends; rows without a request are left out."""
    held: Rows = {name: [] for name in COLUMNS}
    for part, bad in parts(path):
        for message in bad:
            errors(ErrorRow(None, None, "data", "bad_row", message))
        rows = _named(part, errors)
        if held["request_id"]:
            rows = {name: held[name] + rows[name] for name in COLUMNS}
        names = rows["request_id"]
        cut = len(names)
        while cut > 0 and names[cut - 1] == names[-1]:
            cut -= 1
        # A last request that stood earlier in the part too does not go on in the next one.
        cut = len(names) if names and names[-1] in names[:cut] else cut
        held = {name: values[cut:] for name, values in rows.items()}
        if cut:
            yield {name: values[:cut] for name, values in rows.items()}
    if held["request_id"]:
        yield held


def _named(rows: Rows, errors: Errors) -> Rows:
    """The rows that have a request id."""
    names = rows["request_id"]
    if all(names):
        return rows
    for i in [i for i, name in enumerate(names) if not name]:
        errors(ErrorRow(None, _candidate(rows, i), "data", "null_key", "a row has no request_id"))
    kept = [i for i, name in enumerate(names) if name]
    return {column: [values[i] for i in kept] for column, values in rows.items()}


def _set_aside(rows: Rows, name: str, places: list[int], errors: Errors) -> None:
    message = f"rows of {name} stand in several places; only those of the first are used"
    for i in places:
        errors(ErrorRow(name, _candidate(rows, i), "data", "scattered", message))


def _candidate(rows: Rows, i: int) -> str | None:
    """What the row calls its candidate, as far as it can be read."""
    try:
        return text(rows["candidate_id"][i], "") or text(rows["item_id"][i], "")
    except RowError:
        return None
