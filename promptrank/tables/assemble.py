"""The last step of building: requests with histories and candidates, written as flat rows.

Requests, events and candidates come sorted from DuckDB and are walked side by side, some thousand
requests at a time. Histories are chosen as places in the table of events, and gathered by Arrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from promptrank.basics.sql import ident, literal, pack
from promptrank.requests.decode import decode
from promptrank.requests.items import ItemTable
from promptrank.tables.build_plan import ROLES, Plan
from promptrank.tables.carried import NOTHING, Carried
from promptrank.tables.choose import Chooser
from promptrank.tables.labels import answers_of, label_source_of, place_column, place_of
from promptrank.tables.near import nearness_of
from promptrank.tables.statistics import join
from promptrank.tables.walk import Ahead, Read, column, one_array
from promptrank.tables.word_matches import WordMatches

_CHUNK = 4096
_NUMBERS = ("position", "propensity", "weight", "logged_score")
_BASE = ("item_count", "item_mean", "member_mean", "mean")


def candidates_sql(plan: Plan) -> str:
    """SQL of the candidate columns of the request file, in output order."""
    here = plan.place
    points = (
        f"(SELECT c.*, q.member_id FROM {here}.candidates c "
        f"JOIN {here}.requests q USING (request_no))"
    )
    stats = plan.statistics("item")
    valued = join(plan, points, stats, base=True) if plan.timed else points
    places = []
    for name, question in plan.questions.items():
        col, added = ident(place_column(name)), "NULL"
        if plan.negatives is not None:
            added = place_of(literal(plan.negatives.label), question)
        places.append(f"CASE WHEN c.row_no IS NULL THEN {added} ELSE r.{col} END AS {col}")
    fields = [("candidate_id", "cand_id"), ("item_id", "item_id"), ("item_row", "item_row")]
    if plan.context:
        fields.append(("context", "ctx"))
    if stats:
        fields.append(("stats", pack([(n, ident("st_" + n)) for n in stats])))
    candidate = plan.task.requests.candidate if plan.task.requests is not None else None
    given = {"weight": plan.weight}
    if candidate is not None:
        given |= {n: getattr(candidate, n) for n in _NUMBERS}
    fields += [(n, n) for n in _NUMBERS if given.get(n) is not None]
    fields.append(("outcomes", answers_of("", plan.questions)))
    if plan.timed:
        fields.append(("baseline", pack([(n, f"b_{n}") for n in _BASE])))
    if (label_source := label_source_of(plan)) is not None:
        fields.append(("label_source", label_source))
    chosen = ", ".join(f"{e} AS {ident(n)}" for n, e in fields)
    extra = ", ".join(["r.ctx", "r.label", *(f"r.{n}" for n in _NUMBERS), *places])
    return (
        f"SELECT request_no, {chosen} FROM (SELECT c.*, {extra} FROM {valued} c "
        f"LEFT JOIN {here}.rows r ON c.row_no = r.row_no) ORDER BY request_no, cand_id"
    )


def requests_sql(plan: Plan) -> str:
    """SQL of the requests in output order, with the rows of their subjects' entities."""
    stats = plan.statistics("member")
    joined = f"{plan.place}.requests"
    if stats:
        joined = join(plan, f"(SELECT * FROM {joined})", stats, base=False)
    joined += " q"
    rows = ""
    for role in ROLES:
        entity = plan.entities.get(plan.table_of(role) or "")
        if entity is not None:
            alias = f"e_{role}"
            joined = entity.join(joined, f"q.{role}_id", "q.moment", alias)
            rows += f", {alias}.row AS {role}_row"
    got = ""
    if plan.negatives is not None:
        joined += f" LEFT JOIN {plan.place}.sampled s ON s.request_no = q.request_no"
        got = ", s.got"
    return f"SELECT q.*{rows}{got} FROM {joined} ORDER BY q.request_no"


@dataclass(frozen=True, slots=True)
class Snapshots:
    """What stands on disk beside the database, opened once.

    Attributes:
        items: the item table.
        subjects: role -> the rows of its entity table.
        matches: counts of the words of items, where a statistic asks for them.
    """

    items: ItemTable
    subjects: dict[str, pa.Table]
    matches: WordMatches | None


def open_snapshots(plan: Plan, items: ItemTable) -> Snapshots:
    """The snapshots of a plan's entities."""
    subjects = {
        role: pa.ipc.open_file(pa.memory_map(str(plan.entities[name].path))).read_all()
        for role in ROLES
        if (name := plan.table_of(role)) is not None
    }
    return Snapshots(items, subjects, WordMatches(plan, items) if plan.matched else None)


def chunks(
    read: Read, plan: Plan, snapshots: Snapshots, carried: Carried = NOTHING
) -> Iterator[pa.Table]:
    """The rows of the request file, by some thousand requests.

    Args:
        carried: what requests of a look-up hold themselves; it counts where words are compared.
    """
    form = plan.task.form
    candidates = Ahead(read(candidates_sql(plan), form, 65536), "request_no")
    chooser = Chooser(read, plan) if plan.task.history is not None and plan.timed else None
    for batch in read(requests_sql(plan), form, _CHUNK):
        if not batch.num_rows:
            continue
        requests = pa.Table.from_batches([batch])
        rows = candidates.through(column(requests, "request_no")[-1].as_py())
        yield _chunk(plan, requests, rows, chooser, snapshots, carried)


def _chunk(
    plan: Plan,
    requests: pa.Table,
    rows: pa.Table,
    chooser: Chooser | None,
    snapshots: Snapshots,
    carried: Carried,
) -> pa.Table:
    of = np.searchsorted(
        column(requests, "request_no").to_numpy(), column(rows, "request_no").to_numpy()
    )
    first = np.ones(len(of), bool)
    first[1:] = of[1:] != of[:-1]
    every = pa.array(of)
    # What belongs to the request as a whole stands in its first row only.
    once = pa.array(of, mask=~first)
    columns: dict[str, Any] = {
        name: column(requests, source).take(every)
        for name, source in (("request_id", "request_id"), ("time", "t"), ("split", "split"))
    }
    tables, items = snapshots.subjects, snapshots.items
    subjects = {role: _entity(plan, role, requests, tables.get(role)) for role in ROLES}
    words = carried.subjects(subjects) if plan.goes_by_words else {}
    history, shown = None, None
    if chooser is not None:
        near = nearness_of(plan, words, items, chooser)
        shown = chooser.choose(
            decode(column(requests, "member_id")),
            decode(column(requests, "moment")),
            near,
            decode(column(requests, "split")),
        )
        history = _gather(column(chooser.table, "event"), shown)
        if plan.turns:
            subjects["member"] = _as_of_first(plan, requests, tables.get("member"), chooser, shown)
    for role in ROLES:
        if plan.ref(role) is not None:
            columns[f"{role}_id"] = column(requests, f"{role}_id").take(every)
            if (fields := subjects[role]) is not None:
                columns[role] = fields.take(once)
    if history is not None:
        columns["history"] = history.take(once)
    for name in rows.schema.names[1:]:
        columns[name] = column(rows, name)
    if snapshots.matches is not None:
        fields_of = carried.items(items, columns)
        columns["stats"] = snapshots.matches.beside(columns.get("stats"), words, of, fields_of)
    columns["meta"] = _meta(plan, requests).take(once)
    return pa.table(columns)


def _entity(plan: Plan, role: str, requests: pa.Table, table: pa.Table | None) -> pa.Array | None:
    """A subject's fields as one struct for each request, as of the request."""
    if plan.ref(role) is None:
        return None
    stats = list(plan.statistics("member")) if role == "member" else []
    numbers = {n: column(requests, f"st_{n}") for n in stats}
    if table is None:
        if role == "query":
            numbers = {"text": column(requests, "query_id")}
        return _struct(numbers, column(requests, f"{role}_id")) if numbers else None
    return _fields(table, column(requests, f"{role}_row"), numbers)


def _fields(table: pa.Table, rows: pa.Array, numbers: dict[str, pa.Array]) -> pa.Array:
    # By place: a table may have columns that are called like the snapshot's own two.
    taken = table.select(list(range(2, table.num_columns))).take(rows)
    fields = {n: one_array(c) for n, c in zip(taken.schema.names, taken.columns, strict=True)}
    return _struct({**fields, **numbers}, None)


def _struct(fields: dict[str, pa.Array], present: pa.Array | None) -> pa.Array:
    mask = None if present is None else pa.array(~present.is_valid().to_numpy(False))
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields), mask=mask)


def _as_of_first(
    plan: Plan,
    requests: pa.Table,
    table: pa.Table | None,
    chooser: Chooser,
    shown: list[list[int]],
) -> pa.Array | None:
    """The member as of the first turn: what trains there must have been known there."""
    size = chooser.table.num_rows
    place = pa.array([s[0] if s else size + i for i, s in enumerate(shown)], pa.int64())

    def pick(name: str) -> pa.Array:
        both = [column(chooser.table, name), column(requests, name)]
        return pa.concat_arrays(both).take(place)

    numbers = {n: pick(f"st_{n}") for n in plan.statistics("member")}
    if table is None:
        return _struct(numbers, column(requests, "member_id")) if numbers else None
    return _fields(table, pick("member_row"), numbers)


def _gather(events: pa.Array, shown: list[list[int]]) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in shown])]).astype(np.int32)
    places = pa.array([place for s in shown for place in s], pa.int64())
    return pa.ListArray.from_arrays(pa.array(offsets), events.take(places))


def _meta(plan: Plan, requests: pa.Table) -> pa.Array:
    lost = column(requests, "lost")
    fields = {"partial": pa.array(lost.to_numpy() > 0), "lost": lost}
    if plan.negatives is not None:
        count = len(requests)
        fields["negatives"] = pa.StructArray.from_arrays(
            [
                pa.array([plan.negatives.sampler] * count),
                pa.array([plan.negatives.count] * count),
                column(requests, "got"),
            ],
            names=["sampler", "wanted", "got"],
        )
    return _struct(fields, None)
