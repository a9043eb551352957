"""Rows become requests: ``pr.requests`` and ``pr.candidates``."""

from promptrank.basics.sql import Connection, ident, literal, run, text_of
from promptrank.errors import DataError
from promptrank.schema.data_tables import Group, Judgements, Ratings
from promptrank.tables.boundaries import stage_of
from promptrank.tables.build_plan import Plan

_TIME = text_of("t", "DOUBLE")


def make_requests(con: Connection, plan: Plan) -> int:
    """Create ``pr.requests`` (request_no in output order) and ``pr.grouped`` (request_no, row_no).

    Rows of different parts never make one request: where a split draws a boundary (``part`` of
    the rows), requests are cut. A request's time is that of its earliest row. A ratings request is
    named after its member and time (``12@878542960``; ``#2`` where the member has a second one at
    that time); other requests keep the name in the data, and what was cut off behind a boundary
    has its part's name added (``q7#test``). No name depends on what comes in a later part.

    Returns:
        How many requests a split by time has cut.

    Raises:
        DataError: a request's name in the data is one that a cut request was given.
    """
    source = plan.task.source
    if isinstance(source, Ratings):
        cut = _group_ratings(con, plan, source)
    elif isinstance(source, Judgements):
        cut = _group_by(con, "query_id" if source.query is not None else "source_id", plan)
    else:
        cut = _group_by(con, "request_key", plan)
    order = "member_id, t, request_id" if plan.ref("member") is not None else "t, request_id"
    run(
        con,
        "CREATE TABLE pr.requests AS SELECT "
        f"row_number() OVER (ORDER BY {order}) AS request_no, *, "
        f"{plan.at('t')} AS moment FROM pr.named",
        plan.task.form,
    )
    run(
        con,
        "CREATE TABLE pr.grouped AS SELECT n.request_no, g.row_no FROM pr.rows_in g "
        "JOIN pr.requests n USING (request_id)",
        plan.task.form,
    )
    run(con, "DROP TABLE pr.rows_in; DROP TABLE pr.named", plan.task.form)
    split = plan.task.split
    return cut if split is not None and split.by == "time" else 0


def _group_ratings(con: Connection, plan: Plan, source: Ratings) -> int:
    group, stage = source.group, stage_of(plan.task.split)
    within = "PARTITION BY member_id, part"
    usable = (
        f"(SELECT row_no, member_id, part, t, {stage} AS stage FROM pr.rows WHERE fault IS NULL)"
    )
    if group.last is not None:
        block = (
            f"-((row_number() OVER ({within} ORDER BY t DESC, row_no DESC) - 1) // {group.last})"
        )
        rows = f"SELECT *, {block} AS block FROM {usable}"
    else:
        pause = f"t - lag(t) OVER ({within} ORDER BY t, row_no)"
        fresh = f"CASE WHEN {pause} > {group.session!r} THEN 1 ELSE 0 END"
        rows = (
            f"SELECT * EXCLUDE (fresh), sum(fresh) OVER ({within} ORDER BY t, row_no) AS block "
            f"FROM (SELECT *, {fresh} AS fresh FROM {usable})"
        )
    # Rows of a later part do not help a member into an earlier one.
    so_far = "" if stage == "0" else " ORDER BY stage"
    run(
        con,
        "CREATE TABLE pr.blocks AS SELECT row_no, member_id, part, stage, t, block FROM "
        f"(SELECT *, count(*) OVER (PARTITION BY member_id{so_far}) AS total FROM ({rows})) "
        f"WHERE total >= {group.at_least}",
        "ratings.group",
    )
    run(
        con,
        f"CREATE TABLE pr.named AS SELECT member_id || '@' || {_TIME} || "
        "CASE WHEN k > 1 THEN '#' || k ELSE '' END AS request_id, member_id, "
        "CAST(NULL AS VARCHAR) AS query_id, CAST(NULL AS VARCHAR) AS source_id, t, part, block, "
        "CAST(0 AS BIGINT) AS lost "
        "FROM (SELECT *, row_number() OVER (PARTITION BY member_id, t "
        "ORDER BY stage, part, block) AS k "
        "FROM (SELECT member_id, part, stage, block, min(t) AS t FROM pr.blocks GROUP BY ALL))",
        "ratings.group",
    )
    run(
        con,
        "CREATE TABLE pr.rows_in AS SELECT b.row_no, n.request_id FROM pr.blocks b JOIN pr.named n "
        "ON b.member_id = n.member_id AND b.block = n.block AND b.part IS NOT DISTINCT FROM n.part",
        "ratings.group",
    )
    cut = _count(con, _cut_blocks(source.group)) if stage != "0" else 0
    run(con, "DROP TABLE pr.blocks; ALTER TABLE pr.named DROP block", "ratings.group")
    return cut


def _cut_blocks(group: Group) -> str:
    """SQL: how many blocks would have reached over a boundary."""
    if group.session is not None:
        before = "OVER (PARTITION BY member_id ORDER BY t, row_no)"
        return (
            f"SELECT count(*) FILTER (stage <> earlier AND pause <= {group.session!r}) FROM "
            f"(SELECT stage, lag(stage) {before} AS earlier, t - lag(t) {before} AS pause "
            "FROM pr.blocks)"
        )
    # Blocks are counted back, so the oldest one of a part is short where a boundary cut it.
    return (
        f"SELECT count(*) FILTER (n % {group.last} <> 0 AND stage > first) FROM "
        "(SELECT stage, n, min(stage) OVER (PARTITION BY member_id) AS first FROM "
        "(SELECT member_id, part, stage, count(*) AS n FROM pr.blocks GROUP BY ALL))"
    )


def _count(con: Connection, sql: str) -> int:
    row = run(con, sql, "split").fetchone()
    return int(row[0] or 0) if row is not None else 0


def _group_by(con: Connection, name: str, plan: Plan) -> int:
    """Requests by a name that stands in each row, cut where the row's part changes."""
    form, split = plan.task.form, plan.task.split
    # A row without a time has no part by time: it counts as lost where its request begins.
    part = "part"
    if split is not None and split.by == "time":
        part = f"coalesce(part, arg_min(part, {stage_of(split)}) OVER (PARTITION BY {name}))"
    run(
        con,
        "CREATE TABLE pr.by_name AS SELECT row_no, fault, member_id, query_id, source_id, t, "
        f"{part} AS part, {name} AS name FROM pr.rows",
        form,
    )
    ids = ("member_id", "query_id", "source_id")
    mixed = " OR ".join(f"min({n}) <> max({n})" for n in ids)
    run(
        con,
        "CREATE TABLE pr.named AS SELECT name || CASE WHEN k > 1 THEN '#' || coalesce(part, '') "
        "ELSE '' END AS request_id, * EXCLUDE (k) FROM (SELECT *, "
        f"row_number() OVER (PARTITION BY name ORDER BY {stage_of(split)}, part) AS k "
        f"FROM (SELECT name, {', '.join(f'min({n}) FILTER (fault IS NULL) AS {n}' for n in ids)}, "
        "min(t) FILTER (fault IS NULL) AS t, part, "
        # A row that names its request and yet cannot be used is a lost candidate.
        "count(*) FILTER (fault IS NOT NULL) AS lost, "
        f"coalesce({mixed}, false) AS mixed "
        "FROM pr.by_name WHERE name IS NOT NULL GROUP BY name, part "
        "HAVING count(*) FILTER (fault IS NULL) > 0))",
        form,
    )
    _refuse_equal_names(con, form)
    run(
        con,
        "CREATE TABLE pr.rows_in AS SELECT b.row_no, n.request_id FROM pr.by_name b "
        "JOIN pr.named n ON b.name = n.name AND b.part IS NOT DISTINCT FROM n.part "
        "WHERE b.fault IS NULL",
        form,
    )
    run(
        con,
        "INSERT INTO pr.errors SELECT request_id, NULL, 'mixed_subject', "
        f"{literal(form)} || ': rows of one request name different subjects' "
        "FROM pr.named WHERE mixed",
        form,
    )
    run(
        con,
        "INSERT INTO pr.errors SELECT request_key, NULL, 'no_candidates', "
        f"{literal(form)} || ': no row of this request can be used' FROM pr.rows "
        "WHERE request_key IS NOT NULL GROUP BY request_key "
        "HAVING count(*) FILTER (fault IS NULL) = 0",
        form,
    )
    cut = _count(con, "SELECT count(*) - count(DISTINCT name) FROM pr.named")
    run(
        con,
        "DELETE FROM pr.named WHERE mixed; ALTER TABLE pr.named DROP mixed; "
        "ALTER TABLE pr.named DROP name; DROP TABLE pr.by_name",
        form,
    )
    return cut


def _refuse_equal_names(con: Connection, form: str) -> None:
    twice = run(
        con,
        "SELECT request_id FROM pr.named GROUP BY request_id HAVING count(*) > 1 "
        "ORDER BY request_id LIMIT 1",
        form,
    ).fetchone()
    if twice is not None:
        raise DataError(
            f"{form}: {twice[0]!r} is the name of a request, and also what is called the later "
            f"part of {twice[0].rpartition('#')[0]!r}, whose rows lie on both sides of a boundary "
            "of the split; rename one of them"
        )


def make_candidates(con: Connection, plan: Plan) -> None:
    """Create ``pr.candidates``: what stands in each request, without doubles and unknown items.

    Raises nothing for a bad row: a double keeps its earliest row, a missing item makes its
    request partial, a request without candidates is dropped; each makes an error row.
    """
    form = plan.task.form
    run(
        con,
        "CREATE TABLE pr.all_candidates AS SELECT g.request_no, r.row_no, r.cand_id, r.item_id, "
        "q.moment, row_number() OVER (PARTITION BY g.request_no, r.cand_id "
        "ORDER BY r.t, r.row_no) AS nth "
        "FROM pr.grouped g JOIN pr.rows r USING (row_no) JOIN pr.requests q USING (request_no)",
        form,
    )
    add_rows(con, plan, "pr.all_candidates", "pr.candidates")
    run(
        con,
        "INSERT INTO pr.errors SELECT q.request_id, c.cand_id, 'duplicate_candidate', "
        f"{literal(form)} || ': ' || c.cand_id || ' stands twice in the request; "
        "the earliest row is kept' "
        "FROM pr.all_candidates c JOIN pr.requests q USING (request_no) WHERE c.nth > 1",
        form,
    )
    table = plan.table_of("item")
    run(
        con,
        "INSERT INTO pr.errors SELECT q.request_id, c.cand_id, 'item_not_found', "
        f"'item ' || c.item_id || ' is not in {ident(table or '')}' || "
        f"{literal(' at that time' if plan.entities[table or ''].timed else '')} "
        "FROM pr.candidates c JOIN pr.requests q USING (request_no) WHERE c.item_row IS NULL",
        form,
    )
    run(
        con,
        "UPDATE pr.requests q SET lost = q.lost + c.n FROM (SELECT request_no, count(*) AS n "
        "FROM pr.candidates WHERE item_row IS NULL GROUP BY request_no) c "
        "WHERE q.request_no = c.request_no",
        form,
    )
    run(con, "DELETE FROM pr.candidates WHERE item_row IS NULL", form)
    empty = "request_no NOT IN (SELECT request_no FROM pr.candidates)"
    run(
        con,
        "INSERT INTO pr.errors SELECT request_id, NULL, 'no_candidates', "
        f"{literal(form)} || ': no candidate of this request could be used' "
        f"FROM pr.requests WHERE {empty}",
        form,
    )
    run(con, f"DELETE FROM pr.requests WHERE {empty}; DROP TABLE pr.all_candidates", form)


def add_rows(con: Connection, plan: Plan, source: str, target: str) -> None:
    """Create ``target``: the first of each candidate in ``source``, with its item's row."""
    items = plan.entities[plan.table_of("item") or ""]
    joined = items.join(f"(SELECT * FROM {source} WHERE nth = 1) c", "c.item_id", "c.moment", "i")
    run(
        con,
        f"CREATE TABLE {target} AS SELECT c.* EXCLUDE (nth), i.row AS item_row FROM {joined}",
        plan.task.form,
    )
