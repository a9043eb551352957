"""Requests as rows of the request format, and rows as a table that reads back the same."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from promptrank.records import Candidate, Event, Item, Request
from promptrank.requests.decode import rows_of
from promptrank.requests.format import CANDIDATE, COLUMNS, EVENT, REQUIRED

Row = dict[str, Any]

_TYPES = {
    **dict.fromkeys((*REQUIRED, "split", "label_source", "candidate_id"), pa.string()),
    **dict.fromkeys(("member_id", "query_id", "source_id"), pa.string()),
    **dict.fromkeys(("time", "propensity", "weight", "logged_score"), pa.float64()),
    "position": pa.int64(),
    "item_row": pa.int64(),
}
_SPARSE = ("outcomes", "baseline")  # where null and missing mean the same


def request_rows(request: Request) -> list[Row]:
    """A row a candidate; what belongs to the request as a whole stands in the first."""
    subject, name = request.subject, request.request_id
    head: Row = {
        "time": request.time,
        "split": request.split,
        "member_id": subject.member_id,
        "member": subject.member or None,
        "query_id": subject.query_id,
        "query": subject.query or None,
        "source_id": subject.source.item_id if subject.source is not None else None,
        "source": subject.source.fields if subject.source is not None else None,
        "history": [_event(event) for event in request.history] or None,
        "meta": request.meta or None,
    }
    rows = [{"request_id": name, **_candidate(candidate)} for candidate in request.candidates]
    rows[0] |= head
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def _candidate(candidate: Candidate) -> Row:
    return {
        **_item(candidate.item),
        "candidate_id": candidate.candidate_id,
        "context": candidate.context or None,
        "stats": candidate.stats or None,
        "position": candidate.position,
        "propensity": candidate.propensity,
        "weight": candidate.weight,
        "logged_score": candidate.logged_score,
        "outcomes": candidate.outcomes or None,
        "baseline": candidate.baseline or None,
        "label_source": candidate.label_source,
    }


def _event(event: Event) -> Row:
    given = {
        **_item(event.item),
        "action": event.action,
        "time": event.time,
        "context": event.context or None,
        "stats": event.stats or None,
        "outcomes": event.outcomes or None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _item(item: Item) -> Row:
    return {"item_id": item.item_id, "item": item.fields}


def shape_of(rows: Sequence[Row]) -> str | None:
    """What the rows of one request have to share with those of others to stand in one table.

    A struct of a table has the same fields in every row, and a field that a row lacks comes back as
    null, which a template can tell from a field that is not there.

    Returns:
        None where the rows themselves differ, so that no table holds them.
    """
    shapes: dict[str, tuple[str, ...]] = {}
    for place, fields in _structs(rows):
        names = tuple(sorted(map(str, fields)))
        if shapes.setdefault(place, names) != names:
            return None
    return json.dumps(sorted(shapes.items()))


def _structs(rows: Sequence[Row]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    for row in rows:
        for name in ("item", "context", "stats", "member", "query", "source", "meta"):
            if name in row:
                yield name, row[name]
        for event in row.get("history", ()):
            for name in ("item", "context", "stats"):
                if name in event:
                    yield f"history.{name}", event[name]


def table_of(rows: Sequence[Row]) -> pa.Table | None:
    """Rows as a table; None where it would not read back to exactly the same values.

    A whole number among floats would come back as 1.0, a text among numbers has no column at all,
    and an object without keys has no form in parquet.
    """
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    try:
        arrays = [pa.array([row.get(n) for row in rows], _TYPES.get(n)) for n in names]
        table = pa.Table.from_arrays(arrays, names=names)
        back = [row for batch in table.to_batches() for row in rows_of(batch)]
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None
    if any(_is_empty(field.type) for field in table.schema):
        return None
    same = all(_told(a) == _told(b) for a, b in zip(rows, back, strict=True))
    return table if same else None


def _is_empty(kind: pa.DataType) -> bool:
    """Whether parquet has no form for it: a struct without fields, at any depth."""
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_is_empty(field.type) for field in kind)
    if pa.types.is_list(kind):
        return _is_empty(kind.value_type)
    return False


def _told(row: Row) -> str:
    """All that a row says, as text; 1, 1.0 and True differ."""
    return json.dumps(_given(row, (*REQUIRED, *COLUMNS, *CANDIDATE)), sort_keys=True, default=str)


def _given(row: Mapping[str, Any], names: Iterable[str]) -> Row:
    """The fields that are given; null stands for one that is not."""
    given: Row = {}
    for name in names:
        value = row.get(name)
        if name in _SPARSE and value is not None:
            value = {k: v for k, v in value.items() if v is not None} or None
        if name == "history" and value is not None:
            value = [_given(event, EVENT) for event in value]
        if value is not None:
            given[name] = float(value) if _TYPES.get(name) == pa.float64() else value
    return given
