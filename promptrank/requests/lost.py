"""Lines of a request file that were lost, and what they may have taken with them.

A request's own columns stand in its first row. Where that line is torn, the rows that follow look
like a request for nobody: they must not be ranked as one.
"""

import codecs
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

REQUEST_COLUMNS = (
    "time",
    "split",
    "member_id",
    "member",
    "query_id",
    "query",
    "source_id",
    "source",
    "history",
    "meta",
)
_ID = re.compile(rb'"request_id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+(?=\s*[,}]))')
_NAMED = re.compile(rb'"(' + "|".join(REQUEST_COLUMNS).encode() + rb')"\s*:')


@dataclass(frozen=True, slots=True)
class LostLine:
    """A line that could not be read.

    Attributes:
        request_id: which request it names, None where it does not say so any more.
        columns: columns of the request as a whole that it seems to hold.
        torn: whether it was a row of its own, with a candidate; else a row that names no request.
    """

    request_id: str | None
    columns: tuple[str, ...]
    torn: bool


Lost = tuple[LostLine, ...] | None
"""The lines lost in one place."""


def piece_of(line: bytes) -> LostLine | None:
    """What is left of a row; None for a line that never was one."""
    given = line.strip().removeprefix(codecs.BOM_UTF8)
    cut = given.startswith(b"{") or given.endswith(b"}")
    if not (cut or b"\0" in given or not _is_utf8(given)):
        return None
    match = _ID.search(given)
    name: Any = None
    with suppress(ValueError):  # the id itself is damaged
        name = str(json.loads(match[1])) if match is not None else None
    return LostLine(name, tuple(sorted({n.decode() for n in _NAMED.findall(given)})), True)


def nameless(columns: list[str]) -> LostLine | None:
    """A whole row without a request id; None where it holds nothing of a request."""
    return LostLine(None, tuple(columns), False) if columns else None


def joined(lost: Lost, more: LostLine | Lost) -> Lost:
    """Both, in their order."""
    if more is None:
        return lost
    return (lost or ()) + (more if isinstance(more, tuple) else (more,))


def took_head(lost: Lost, name: str, has: dict[str, bool]) -> bool:
    """Whether lines directly before a request's first row held what the request as a whole is.

    Args:
        has: which of `REQUEST_COLUMNS` the row holds itself.
    """
    for line in lost or ():
        if line.request_id not in (None, name):
            continue
        missed = any(not has[column] for column in line.columns)
        if not any(has.values()) or (missed and line.torn):
            return True
    return False


def candidates_in(lost: Lost, name: str) -> int:
    """How many candidates of a request these lines may have held, among its rows or beside them."""
    return sum(1 for line in lost or () if line.torn and line.request_id in (None, name))


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
