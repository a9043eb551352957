"""What the statements of `build` read when one look-up is asked for: views of its rows alone.

`build` makes its requests from tables in the schema ``pr``. A look-up runs the same statements on a
cursor of its own, whose temporary schema has views of the same names, each of what the wanted
requests need of the table below. The tables below are sorted by what the views select, so that
DuckDB skips what lies elsewhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from promptrank.basics.sql import Connection, ident, literal, run
from promptrank.requests.asked import ROLES
from promptrank.tables.build_plan import Plan

WHERE = "look-up"
_IDS = {role: f"SELECT {role}_id FROM temp.requests" for role in ROLES}
_IDS["item"] = "SELECT item_id FROM temp.asked"

REQUESTS = pa.schema(
    [
        ("request_no", pa.int64()),
        ("request_id", pa.string()),
        ("member_id", pa.string()),
        ("query_id", pa.string()),
        ("source_id", pa.string()),
        ("t", pa.float64()),
        ("lost", pa.int64()),
        ("moment", pa.float64()),
        ("split", pa.string()),
        ("stored", pa.bool_()),
    ]
)
"""Columns of ``temp.requests``, as of ``pr.requests``; and whether it shows stored events."""
ASKED = pa.schema(
    [
        ("request_no", pa.int64()),
        ("row_no", pa.int64()),
        ("cand_id", pa.string()),
        ("item_id", pa.string()),
        ("moment", pa.float64()),
    ]
)
"""Columns of ``temp.asked``: the items to look up, each as of a moment of its own."""
LATEST = pa.schema([("known", pa.float64())])
"""Column of ``temp.latest``: times of the sums over everything that hold at some moment."""


def looking_up(plan: Plan) -> Plan:
    """The plan whose statements read the views."""
    entities = {name: replace(entity, place="temp") for name, entity in plan.entities.items()}
    return replace(plan, place="temp", entities=entities)


def attach(con: Connection, path: Path) -> None:
    """Attach a new database file as ``kept``; before the connection is locked."""
    # Small groups of rows: a look-up reads few of them.
    run(con, f"ATTACH {literal(str(path))} AS kept (ROW_GROUP_SIZE 4096)", WHERE)


def keep(con: Connection, plan: Plan) -> None:
    """Copy the tables that look-ups read into ``kept``, sorted by what the views select."""
    orders = {"events": "member_id, known, t, key, step", "cuts": "cut"}
    orders |= {f"sums_{kind}": "id, known" for kind in ("item", "member", "all")}
    for name, stat in plan.summed.items():
        orders |= {f"d_{name}": "cut_no, value", f"t_{name}": "cut_no"}
        if stat.by is not None:
            orders |= {f"shared_{name}": "id, shared, known", f"values_{name}": "id, since"}
    orders |= {f"versions_{name}": "id, since" for name in plan.entities}
    run(con, "CREATE TABLE kept.rows AS FROM pr.rows WHERE false", WHERE)
    for name in _names(con, "schema_name = 'pr'"):
        if name in orders:
            table = ident(name)
            run(con, f"CREATE TABLE kept.{table} AS FROM pr.{table} ORDER BY {orders[name]}", WHERE)
    run(con, "DETACH kept", WHERE)


def _names(con: Connection, condition: str) -> list[str]:
    sql = f"SELECT table_name FROM duckdb_tables() WHERE {condition} ORDER BY 1"
    return [str(name) for (name,) in run(con, sql, WHERE).fetchall()]


def make_views(cursor: Connection, plan: Plan) -> None:
    """Create the views on a cursor, over the tables that `put` fills."""
    empty = {"requests": REQUESTS, "asked": ASKED, "latest": LATEST}
    put(cursor, {name: schema.empty_table() for name, schema in empty.items()})
    there = {*_names(cursor, "database_name = 'kept'"), "sampled", "candidates"}
    for name, sql in _views(plan):
        if name in there:  # a task without members has no sums by member
            run(cursor, f"CREATE TEMP VIEW {ident(name)} AS {sql}", WHERE)


def _views(plan: Plan) -> Iterator[tuple[str, str]]:
    """Name -> what it shows."""
    yield "rows", "FROM kept.rows"
    yield "sampled", "SELECT 0::BIGINT AS request_no, 0::BIGINT AS got WHERE false"
    for name in plan.entities:
        roles = [role for role in ("item", *ROLES) if plan.table_of(role) == name]
        yield f"versions_{name}", _of(f"versions_{name}", *roles)
    items = plan.entities[plan.table_of("item") or ""]
    joined = items.join("temp.asked c", "c.item_id", "c.moment", "i")
    yield "candidates", f"SELECT c.*, i.row AS item_row FROM {joined}"
    if not plan.timed:
        return
    if plan.task.history is not None:
        yield (
            "events",
            (
                "FROM kept.events WHERE member_id IN (SELECT member_id FROM temp.requests "
                "WHERE stored) AND known < (SELECT max(moment) FROM temp.requests)"
            ),
        )
    yield "sums_item", _of("sums_item", "item")
    yield "sums_member", _of("sums_member", "member")
    yield "sums_all", "FROM kept.sums_all WHERE known IN (SELECT known FROM temp.latest)"
    for name, stat in plan.summed.items():
        if stat.by is not None:
            yield f"shared_{name}", _of(f"shared_{name}", "member")
            yield f"values_{name}", _of(f"values_{name}", "item")
        if stat.percentile:
            cuts = "(SELECT max(cut_no) FROM kept.cuts c JOIN (SELECT DISTINCT moment FROM "
            cuts += "temp.asked UNION SELECT moment FROM temp.requests) q ON c.cut < q.moment "
            cuts += "GROUP BY q.moment)"
            for table in (f"d_{name}", f"t_{name}"):
                yield table, f"FROM kept.{ident(table)} WHERE cut_no IN {cuts}"
    if any(stat.percentile for stat in plan.summed.values()):
        yield "cuts", "FROM kept.cuts"


def _of(table: str, *roles: str) -> str:
    ids = " UNION ALL ".join(_IDS[role] for role in roles)
    return f"FROM kept.{ident(table)} WHERE id IN ({ids})"


def put(cursor: Connection, tables: Mapping[str, pa.Table]) -> None:
    """Say which ``requests`` are wanted, what items are ``asked``, and the ``latest`` sums."""
    made = []
    for name, table in tables.items():
        cursor.register(f"fresh_{name}", table)
        made.append(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM fresh_{name}")
    run(cursor, "; ".join(made), WHERE)
    for name in tables:
        cursor.unregister(f"fresh_{name}")
