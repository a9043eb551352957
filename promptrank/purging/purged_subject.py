"""Whom a purge is about: where an id stands for that person, and where only its letters do."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from promptrank.errors import InputError

SUBJECTS = ("subject_id", "member_id", "query_id", "source_id")
"""Columns of whom a row is for; the first that is given says it."""
ITEMS = frozenset({"item_id", "candidate_id", "source_id", "candidate_ids", "preferred", "__id"})
"""Fields whose ids are of items: of people only where people are ranked for people."""
_REQUESTS = frozenset({"request_id", "request_ids", "first", "last", "suspects", "accused"})
_LONG = 6  # characters from which an id within a longer text is no accident

_BEFORE, _AFTER = r"(?<!\w)(?<!\w[.@+-])", r"(?!\w|[.+-]\w|@[^\W\d])"
_ALONE = re.compile(f"{_BEFORE}\0{_AFTER}", re.ASCII)


@dataclass(frozen=True)
class PurgedSubject:
    """An id, and whether items of that id are the same person.

    Attributes:
        items: True: they are, and go as well; False: they are something else, and stay; None:
            nobody has said, which is well where there are none.
    """

    id: str
    items: bool | None = None

    def __post_init__(self) -> None:
        """InputError for an id that could be anybody's."""
        if not self.id.strip():
            raise InputError("--subject: an empty id names nobody; give the member's id")

    @cached_property
    def _named(self) -> re.Pattern[str]:
        """As `promptrank build` names the requests of a member: id, time, and which of several."""
        number = r"-?(\d+(\.\d*)?([eE][+-]?\d+)?|inf|nan)"
        return re.compile(rf"{re.escape(self.id)}@{number}(#.*)?", re.DOTALL)

    @cached_property
    def _word(self) -> re.Pattern[str]:
        """The id within a text, but not as part of a longer id: ``ann`` in ``ann-marie``."""
        return re.compile(f"{_BEFORE}{re.escape(self.id)}{_AFTER}")

    def is_request(self, request_id: Any) -> bool:
        """Whether a request's own id says that it is theirs."""
        return isinstance(request_id, str) and self._named.fullmatch(request_id) is not None

    def stands_in(self, value: Any, field: str) -> bool:
        """Whether a value of a field holds the id.

        Numbers do only where they are ids. Within a longer text a short id, which words and numbers
        may happen to hold, does not count.
        """
        if isinstance(value, bool) or value is None:
            return False
        if isinstance(value, int | float):
            return field.endswith("_id") and as_id(value) == self.id
        if not isinstance(value, str):
            return False
        if value == self.id or (field in _REQUESTS and self.is_request(value)):
            return True
        if self.id not in value:
            return False
        return len(self.id) >= _LONG and self._word.search(value) is not None

    def stands_in_bytes(self, data: bytes) -> bool:
        """Whether bytes of any file hold the id, but not as part of a longer one."""
        wanted = self.id.encode("utf-8", "surrogatepass")
        at = data.find(wanted)
        while at >= 0:
            near = data[max(0, at - 2) : at + len(wanted) + 2].decode("latin-1")
            lead = min(at, 2)
            text = f"{near[:lead]}\0{near[lead + len(wanted) :]}"
            if _ALONE.search(text):
                return True
            at = data.find(wanted, at + 1)
        return False

    def is_theirs(self, row: dict[str, Any], requests: Collection[str]) -> bool:
        """Whether a row is of one of their requests.

        Args:
            requests: ids of requests that are known to be theirs.
        """
        request = as_id(row.get("request_id"))
        if request is not None and (request in requests or self.is_request(request)):
            return True
        given = (as_id(row.get(name)) for name in SUBJECTS)
        return next((name for name in given if name is not None), None) == self.id

    def is_item(self, row: dict[str, Any]) -> bool:
        """Whether a row is of them as a candidate of somebody else, and is to go."""
        return bool(self.items) and self.id in (
            as_id(row.get("item_id")),
            as_id(row.get("candidate_id")),
        )

    def rows_of(self, table: pa.Table, requests: Collection[str]) -> pa.Array:
        """Booleans: which rows of a table are of their requests; see `is_theirs`."""
        theirs = pa.array([False] * len(table), pa.bool_())
        columns = [_ids(table, name) for name in SUBJECTS if name in table.column_names]
        if columns:
            theirs = pc.fill_null(pc.equal(pc.coalesce(*columns), self.id), False)
        if "request_id" in table.column_names:
            column = _ids(table, "request_id")
            named = pc.is_in(column, value_set=pa.array(sorted(requests), pa.string()))
            by_name = pa.array(map(self.is_request, column.to_pylist()), pa.bool_())
            theirs = pc.or_(theirs, pc.or_(pc.fill_null(named, False), by_name))
        return theirs.combine_chunks() if isinstance(theirs, pa.ChunkedArray) else theirs

    def items_in(self, table: pa.Table) -> pa.Array:
        """Booleans: which rows of a table are of them as a candidate, and are to go."""
        theirs = pa.array([False] * len(table), pa.bool_())
        for name in ("item_id", "candidate_id") if self.items else ():
            if name in table.column_names:
                same = pc.fill_null(pc.equal(_ids(table, name), self.id), False)
                theirs = pc.or_(theirs, same)
        return theirs.combine_chunks() if isinstance(theirs, pa.ChunkedArray) else theirs

    def requests_in(self, table: pa.Table) -> set[str]:
        """Ids of their requests in a table that says whom rows are for."""
        if "request_id" not in table.column_names:
            return set()
        rows = table.filter(self.rows_of(table, ()))
        return {name for name in _ids(rows, "request_id").to_pylist() if name}


def as_id(value: Any) -> str | None:
    """An id as text: 7 and 7.0 are one; None for what is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float | str) else None


def _ids(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name)
    if pa.types.is_floating(column.type):
        return pa.array([as_id(value) for value in column.to_pylist()], pa.string())
    column = column.cast(pa.string())
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
