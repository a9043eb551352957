"""Statistics of a member by what items share: how much of this genre, this brand, this author.

For each member and value of ``by`` the sums so far are kept at each time they change, as in
`promptrank.tables.statistics`. A candidate with several values (a list) has the mean of their
counts and of their sums, so an item that shares one value of two weighs half. An item's values are
those that its table held at the time: of the row where sums are made, of the request where they are
read.
"""

from promptrank.basics.sql import Connection, ident, run, seconds_of, text_of, type_of
from promptrank.schema.parts import Statistic
from promptrank.tables.build_plan import Plan
from promptrank.tables.statements import expression


def make_sums(con: Connection, plan: Plan, name: str, by: str) -> None:
    """Create the values of items, and the running sums of each member and value."""
    where = f"statistics.{name}.by"
    table = plan.table_of("item") or ""
    declared, source = plan.task.tables[table], ident(table)
    kinds = plan.kinds[f"tables.{table}"]
    value = expression(by, where)
    kind = type_of(con, value, source, where)
    texts = value if kind.endswith("[]") else f"[{value}]"
    since = "NULL"
    if declared.valid_from is not None:
        at = declared.valid_from
        since = seconds_of(ident(at), kinds[at], f"tables.{table}.valid_from")
    key = text_of(ident(declared.key), kinds[declared.key])
    run(
        con,
        f"CREATE TABLE {_values(plan, name)} AS SELECT {key} AS id, "
        f"CAST({since} AS DOUBLE) AS since, "
        f"list_distinct(CAST({texts} AS VARCHAR[])) AS shared FROM {source}",  # drops NULLs
        where,
    )
    timed = f"(SELECT *, {plan.at('t')} AS moment FROM pr.rows)"
    rows = (
        f"(SELECT r.*, unnest(v.shared) AS shared FROM {_with_values(plan, timed, name)} "
        "WHERE r.fault IS NULL AND r.known IS NOT NULL)"
    )
    x = ident(f"x_{name}")
    run(
        con,
        f"CREATE TABLE {_sums(plan, name)} AS SELECT id, shared, known, sum(n) OVER w AS n, "
        f"sum(s) OVER w AS s FROM (SELECT member_id AS id, shared, known, count({x}) AS n, "
        f"sum({x}) AS s FROM {rows} WHERE member_id IS NOT NULL GROUP BY ALL) "
        "WINDOW w AS (PARTITION BY id, shared ORDER BY known)",
        where,
    )


def join(plan: Plan, points: str, name: str, stat: Statistic) -> str:
    """SQL that joins points ``p`` with the counts, sums and number of their items' values."""
    alias = _alias(name)
    asked = f"(SELECT DISTINCT member_id, item_id, moment FROM {points})"
    shared = (
        "(SELECT r.member_id, r.item_id, r.moment, unnest(v.shared) AS shared "
        f"FROM {_with_values(plan, asked, name)})"
    )
    sql, n, s = f"{shared} d", "sum(coalesce(now.n, 0))", "sum(coalesce(now.s, 0))"
    same = "d.member_id = {0}.id AND d.shared = {0}.shared"
    sql += (
        f" ASOF LEFT JOIN {_sums(plan, name)} now ON {same.format('now')} AND d.moment > now.known"
    )
    if stat.within is not None:
        early = f"(d.moment - {stat.within!r})"
        sql += f" ASOF LEFT JOIN {_sums(plan, name)} early ON {same.format('early')}"
        sql += f" AND {early} > early.known"
        n = f"({n} - sum(coalesce(early.n, 0)))"
        s = f"({s} - sum(coalesce(early.s, 0)))"
    return (
        f" LEFT JOIN (SELECT d.member_id, d.item_id, d.moment, {n} AS n, {s} AS s, "
        f"count(*) AS k FROM {sql} GROUP BY ALL) {alias} ON p.member_id = {alias}.member_id "
        f"AND p.item_id = {alias}.item_id AND p.moment = {alias}.moment"
    )


def value(name: str, prior: float, own: str) -> str:
    """SQL of the mean over shared values, with ``prior`` rows at the member's own mean."""
    alias = _alias(name)
    n, s = (f"coalesce(CAST({alias}.{x} AS DOUBLE) / {alias}.k, 0)" for x in ("n", "s"))
    if not prior:
        return f"{s} / nullif({n}, 0)"
    return f"({s} + {prior!r} * {own}) / ({n} + {prior!r})"


def _with_values(plan: Plan, points: str, name: str) -> str:
    """SQL: points ``r`` with their items' values ``v``, as of the moment."""
    timed = plan.entities[plan.table_of("item") or ""].timed
    kind, when = ("ASOF LEFT JOIN", " AND r.moment > v.since") if timed else ("LEFT JOIN", "")
    return f"{points} r {kind} {_values(plan, name)} v ON r.item_id = v.id{when}"


def _values(plan: Plan, name: str) -> str:
    return f"{plan.place}.{ident('values_' + name)}"


def _sums(plan: Plan, name: str) -> str:
    return f"{plan.place}.{ident('shared_' + name)}"


def _alias(name: str) -> str:
    return ident(f"shared_{name}")
