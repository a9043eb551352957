"""Rows become requests: ``pr.requests`` and ``pr.candidates``."""

from promptrank.basics.sql import Connection, ident, literal, run, text_of
from promptrank.schema.data_tables import Judgements, Ratings
from promptrank.tables.plan import Plan

_TIME = text_of("t", "DOUBLE")


def make_requests(con: Connection, plan: Plan) -> None:
    """Create ``pr.requests`` (request_no in output order) and ``pr.members_of`` it (row_no).

    A request's time is that of its earliest row. A ratings request is named after its member and
    time (``12@878542960``; ``#2`` where the member has a second one at that time), so that rows
    added later never rename it; other requests keep the name in the data.
    """
    source = plan.task.source
    if isinstance(source, Ratings):
        _group_ratings(con, source)
    elif isinstance(source, Judgements):
        subject = "query_id" if source.query is not None else "source_id"
        # A subject in several parts makes a request in each.
        parts = f"count(DISTINCT part) OVER (PARTITION BY {subject}) > 1"
        _group_by(con, f"{subject} || CASE WHEN {parts} THEN '#' || part ELSE '' END", plan)
    else:
        _group_by(con, "request_key", plan)
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


def _group_ratings(con: Connection, source: Ratings) -> None:
    group = source.group
    within = "PARTITION BY member_id, part"
    if group.last is not None:
        block = (
            f"-((row_number() OVER ({within} ORDER BY t DESC, row_no DESC) - 1) // {group.last})"
        )
        rows = f"SELECT row_no, member_id, part, t, {block} AS block FROM pr.rows"
    else:
        pause = f"t - lag(t) OVER ({within} ORDER BY t, row_no)"
        fresh = f"CASE WHEN {pause} > {group.session!r} THEN 1 ELSE 0 END"
        rows = (
            f"SELECT *, sum(fresh) OVER ({within} ORDER BY t, row_no) AS block FROM "
            f"(SELECT row_no, member_id, part, t, {fresh} AS fresh FROM pr.rows "
            "WHERE fault IS NULL)"
        )
    run(
        con,
        "CREATE TABLE pr.blocks AS SELECT row_no, member_id, part, t, block FROM "
        f"(SELECT *, count(*) OVER (PARTITION BY member_id) AS total FROM ({rows}"
        f"{' WHERE fault IS NULL' if group.last is not None else ''})) "
        f"WHERE total >= {group.at_least}",
        "ratings.group",
    )
    run(
        con,
        f"CREATE TABLE pr.named AS SELECT member_id || '@' || {_TIME} || "
        "CASE WHEN k > 1 THEN '#' || k ELSE '' END AS request_id, member_id, "
        "CAST(NULL AS VARCHAR) AS query_id, CAST(NULL AS VARCHAR) AS source_id, t, part, block, "
        "CAST(0 AS BIGINT) AS lost "
        "FROM (SELECT *, row_number() OVER (PARTITION BY member_id, t ORDER BY part, block) AS k "
        "FROM (SELECT member_id, part, block, min(t) AS t FROM pr.blocks GROUP BY ALL))",
        "ratings.group",
    )
    run(
        con,
        "CREATE TABLE pr.rows_in AS SELECT b.row_no, n.request_id FROM pr.blocks b JOIN pr.named n "
        "ON b.member_id = n.member_id AND b.block = n.block AND b.part IS NOT DISTINCT FROM n.part",
        "ratings.group",
    )
    run(con, "DROP TABLE pr.blocks; ALTER TABLE pr.named DROP block", "ratings.group")


def _group_by(con: Connection, name: str, plan: Plan) -> None:
    """Requests by a name that stands in each row."""
    form = plan.task.form
    run(
        con,
        "CREATE TABLE pr.by_name AS SELECT row_no, fault, member_id, query_id, source_id, t, part, "
        f"{name} AS name FROM pr.rows",
        form,
    )
    run(
        con,
        "CREATE TABLE pr.rows_in AS SELECT row_no, name AS request_id FROM pr.by_name "
        "WHERE fault IS NULL",
        form,
    )
    ids = ("member_id", "query_id", "source_id")
    mixed = " OR ".join(f"min({n}) <> max({n})" for n in ids)
    run(
        con,
        "CREATE TABLE pr.named AS SELECT name AS request_id, "
        f"{', '.join(f'min({n}) FILTER (fault IS NULL) AS {n}' for n in ids)}, "
        "min(t) FILTER (fault IS NULL) AS t, min(part) FILTER (fault IS NULL) AS part, "
        # A row that names its request and yet cannot be used is a lost candidate.
        "count(*) FILTER (fault IS NOT NULL) AS lost, "
        f"coalesce({mixed}, false) AS mixed "
        "FROM pr.by_name WHERE name IS NOT NULL GROUP BY 1 "
        "HAVING count(*) FILTER (fault IS NULL) > 0",
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
    run(
        con,
        "DELETE FROM pr.named WHERE mixed; ALTER TABLE pr.named DROP mixed; DROP TABLE pr.by_name",
        form,
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
