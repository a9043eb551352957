"""Past events of members: ``pr.events``, one row for each thing that became known of an event."""

from promptrank.basics.sql import (
    Connection,
    clean_field,
    ident,
    literal,
    run,
    seconds_of,
    text_of,
    type_of,
)
from promptrank.tables.build_plan import Plan
from promptrank.tables.held_out import stage
from promptrank.tables.labels import place_column, place_of
from promptrank.tables.statements import expression
from promptrank.tables.statistics import join

_WITH_REQUESTS = " AND member_id IN (SELECT member_id FROM pr.requests)"


def make_events(con: Connection, plan: Plan, *, every: bool = False) -> None:
    """Create ``pr.events`` for the members that have requests; for every member if asked.

    Columns: key (an event), t (when it happened), known (from when on this row was known; the
    last one known holds), stage (of `held_out`), label, a_<question>, item_id, item_row, ctx,
    st_<statistic>, and under turns member_row: item, statistics and member are as of the event
    itself.
    """
    history = plan.task.history
    assert history is not None
    if history.events is not None:
        _from_events(con, plan, "" if every else _WITH_REQUESTS)
    else:
        _from_rows(con, plan, "" if every else _WITH_REQUESTS)
    places = ", ".join(ident(place_column(n)) for n in plan.questions)
    wanted = dict(plan.statistics("item"))
    points = (
        f"(SELECT key, member_id, item_id, t, ctx, stage, {plan.at('t')} AS moment "
        "FROM pr.event_base)"
    )
    if plan.turns:
        wanted |= plan.statistics("member")
    valued = join(plan, points, wanted, base=False) if wanted else points
    items = plan.entities[plan.table_of("item") or ""]
    joined = items.join(f"{valued} e", "e.item_id", "e.moment", "i")
    extra = ""
    member = plan.entities.get(plan.table_of("member") or "")
    if plan.turns and member is not None:
        joined = member.join(joined, "e.member_id", "e.moment", "m")
        extra = ", m.row AS member_row"
    run(
        con,
        f"CREATE TABLE pr.events AS SELECT b.*, v.known, v.step, v.label, {places} FROM "
        f"(SELECT e.*, i.row AS item_row{extra} FROM {joined} WHERE i.row IS NOT NULL) b "
        "JOIN pr.event_versions v USING (key)",
        "history",
    )


def _from_rows(con: Connection, plan: Plan, members: str) -> None:
    """Events are the rows that are ranked from, once their label is known."""
    places = ", ".join(ident(place_column(n)) for n in plan.questions)
    run(
        con,
        "CREATE VIEW pr.event_base AS SELECT row_no AS key, member_id, item_id, t, ctx, "
        f"{stage('part')} AS stage FROM pr.rows WHERE fault IS NULL{members}",
        "history",
    )
    if plan.task.outcomes is None:
        sql = (
            f"SELECT row_no AS key, t AS known, 0 AS step, label, {places} FROM pr.rows "
            f"WHERE fault IS NULL AND label IS NOT NULL"
        )
    else:
        sql = (
            "SELECT r.row_no AS key, v.known, v.step, v.label, "
            + ", ".join(f"v.{ident(place_column(n))}" for n in plan.questions)
            + " FROM pr.versions v JOIN pr.rows r USING (shown) WHERE v.known IS NOT NULL"
        )
    run(con, f"CREATE VIEW pr.event_versions AS {sql}", "history")


def _from_events(con: Connection, plan: Plan, members: str) -> None:
    """Events have a table of their own; a row without member, item, time or action is left out."""
    history = plan.task.history
    assert history is not None and history.events is not None
    events, kinds = history.events, plan.kinds["history.events"]
    action = expression(events.action, "history.events.action")
    label = text_of(action, type_of(con, action, "src.events", "history.events.action"))
    ids = {role: plan.event_ref(role).column or "" for role in ("member", "item")}
    fields = [
        f"{ident(n)} := {clean_field(n, kinds[n]).removesuffix(f' AS {ident(n)}')}"
        for n in events.context
    ]
    columns = {
        "member_id": text_of(ident(ids["member"]), kinds[ids["member"]]),
        "t": seconds_of(ident(events.time), kinds[events.time], "history.events.time"),
        "item_id": text_of(ident(ids["item"]), kinds[ids["item"]]),
        "label": label,
        "ctx": f"struct_pack({', '.join(fields)})" if fields else "CAST(NULL AS VARCHAR)",
    }
    chosen = ", ".join(f"{e} AS {n}" for n, e in columns.items())
    whole = " AND ".join(f"{n} IS NOT NULL" for n in ("member_id", "item_id", "t", "label"))
    run(
        con,
        "CREATE TABLE pr.event_rows AS SELECT *, "
        f"row_number() OVER (ORDER BY {', '.join(columns)}) AS key FROM (SELECT {chosen} "
        f"FROM src.events) WHERE {whole}{members}",
        "history.events",
    )
    run(
        con,
        "INSERT INTO pr.errors SELECT NULL, NULL, 'null_key', "
        f"{literal('history.events: a row has no member, item, time or action; it was left out')} "
        f"FROM (SELECT {chosen} FROM src.events) WHERE NOT ({whole})",
        "history.events",
    )
    held, beside = "CAST(0 AS TINYINT)", ""
    if plan.task.split is not None and (plan.task.split.field or "").startswith("item."):
        held, beside = stage("h.part"), " LEFT JOIN pr.held h ON h.id = e.item_id"
    places = ", ".join(
        f"{place_of('label', q)} AS {ident(place_column(n))}" for n, q in plan.questions.items()
    )
    run(
        con,
        f"CREATE VIEW pr.event_base AS SELECT key, member_id, item_id, t, ctx, {held} AS stage "
        f"FROM pr.event_rows e{beside}; "
        "CREATE VIEW pr.event_versions AS "
        f"SELECT key, t AS known, 0 AS step, label, {places} FROM pr.event_rows",
        "history.events",
    )
