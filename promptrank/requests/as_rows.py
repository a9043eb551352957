"""Requests as rows of the request format, and rows as a table that reads back the same."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from promptrank.records import Candidate, Event, Item, Request
from promptrank.requests.decode import rows_of
from promptrank.requests.format import COLUMNS, REQUIRED

Row = dict[str, Any]

_SPARSE = ("outcomes", "baseline")  # where null and missing mean the same
_FLOATS = ("time", "propensity", "weight", "logged_score")
_TOGETHER = 16
_TYPES = {
    **dict.fromkeys((*REQUIRED, "split", "label_source", "candidate_id"), pa.string()),
    **dict.fromkeys(("member_id", "query_id", "source_id"), pa.string()),
    **dict.fromkeys(_FLOATS, pa.float64()),
    "position": pa.int64(),
    "item_row": pa.int64(),
}


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


def tables_of(requests: Sequence[Sequence[Row]]) -> tuple[list[pa.Table], list[Sequence[Row]]]:
    """Requests of one shape as tables that read back to exactly the same values, and the others.

    A whole number among floats would come back as 1.0, a text among numbers has no column at all,
    and an object without keys has no form in parquet. Tables are of some requests at a time, since
    a call of Arrow holds up every other thread; `as_one` puts them together.

    Returns:
        Tables, and requests that no table holds.
    """
    tables, others = [], []
    for start in range(0, len(requests), _TOGETHER):
        some = requests[start : start + _TOGETHER]
        table = _table([row for rows in some for row in rows])
        if table is not None:
            tables.append(table)
            continue
        for rows in some:  # each may be uniform in itself
            if (alone := _table(rows)) is not None:
                tables.append(alone)
            else:
                others.append(rows)
    return tables, others


def as_one(tables: Iterable[pa.Table]) -> list[pa.Table]:
    """As few tables as there are kinds of columns; of types, only that of nulls gives way."""
    kinds: list[tuple[pa.Schema, list[pa.Table]]] = []
    for table in tables:
        for place, (schema, alike) in enumerate(kinds):
            try:
                both = pa.unify_schemas([schema, table.schema])
            except pa.ArrowException:
                continue
            kinds[place] = (both, [*alike, table])
            break
        else:
            kinds.append((table.schema, [table]))
    return [pa.concat_tables(alike, promote_options="default") for _, alike in kinds]


def rows_in(table: pa.Table) -> list[Row]:
    """The rows of a table of `tables_of` as they were."""
    return [_given(row) for batch in table.to_batches() for row in rows_of(batch)]


def _table(rows: Sequence[Row]) -> pa.Table | None:
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    try:
        arrays = [pa.array([row.get(n) for row in rows], _TYPES.get(n)) for n in names]
        table = pa.Table.from_arrays(arrays, names=names)
        back = [row for batch in table.to_batches() for row in rows_of(batch)]
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return None
    if any(_is_empty(field.type) for field in table.schema):
        return None
    return table if _told(rows) == _told(back) else None


def _is_empty(kind: pa.DataType) -> bool:
    """Whether parquet has no form for it: a struct without fields, at any depth."""
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_is_empty(field.type) for field in kind)
    if pa.types.is_list(kind):
        return _is_empty(kind.value_type)
    return False


def _told(rows: Sequence[Row]) -> bytes | str:
    """All that rows say, as text; 1, 1.0 and True differ."""
    given = [_given(row) for row in rows]
    try:
        return orjson.dumps(given, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a number of more than 64 bits, half a character, a Decimal
        return json.dumps(given, sort_keys=True, default=str)


def _given(row: Mapping[str, Any]) -> Row:
    """The fields of a row or an event that are given; null stands for one that is not."""
    given = {name: value for name, value in row.items() if value is not None}
    for name in _SPARSE:
        if name in given:
            sparse = {key: value for key, value in given[name].items() if value is not None}
            given[name] = sparse or None
    for name in _FLOATS:
        if name in given:
            given[name] = float(given[name])
    if "history" in given:
        given["history"] = [_given(event) for event in given["history"]]
    return given
