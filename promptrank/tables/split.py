"""Which requests train, validate and test, and what the test has seen in training."""

from promptrank.basics.sql import Connection, literal, run
from promptrank.errors import DataError
from promptrank.schema.splitting import Split
from promptrank.tables.boundaries import stage_of
from promptrank.tables.build_plan import Plan

SUBJECT = "coalesce(member_id, query_id, source_id)"


def make_split(con: Connection, plan: Plan) -> int:
    """Fill ``split`` in ``pr.requests``; returns how many requests fell into gaps.

    These are not written, and in a split by file or field neither are requests without a part.

    Raises:
        DataError: a gap that leaves nothing to train.
    """
    split = plan.task.split
    if split is None:
        run(con, "ALTER TABLE pr.requests ADD COLUMN split VARCHAR", "split")
        return 0
    expression, extra = _expression(split)
    run(
        con,
        f"CREATE TABLE pr.split_requests AS SELECT * EXCLUDE ({extra}), {expression} AS split "
        f"FROM (SELECT *, {_columns(split)} AS {extra} FROM pr.requests)",
        "split",
    )
    run(
        con,
        "DROP TABLE pr.requests; ALTER TABLE pr.split_requests RENAME TO requests",
        "split",
    )
    gone = run(con, "SELECT count(*) FROM pr.requests WHERE split IS NULL", "split").fetchone()
    run(con, "DELETE FROM pr.requests WHERE split IS NULL", "split")
    lost = int(gone[0]) if gone is not None else 0
    if split.gap and lost:
        _refuse_endless_gap(con, split)
    return lost


def _refuse_endless_gap(con: Connection, split: Split) -> None:
    sql = "SELECT count(*) FILTER (split = 'train'), count(*) FROM pr.requests"
    row = run(con, sql, "split").fetchone()
    if row is not None and row[1] and not row[0]:
        days = split.gap / 86_400
        raise DataError(
            f"split.gap: {days:g} days leave no request to train: all that lies before the next "
            "part falls into the gap; make it shorter, or the parts that are held out"
        )


def shown_early(con: Connection, plan: Plan) -> list[str]:
    """A line where a split by file holds out rows that training requests show as history."""
    split, history = plan.task.split, plan.task.history
    if split is None or split.by != "file" or history is None or history.events is not None:
        return []
    sql = (
        f"SELECT count(*) FROM (SELECT t, {stage_of(split)} AS stage, max(t) "
        f"FILTER ({stage_of(split)} = 0) OVER (PARTITION BY member_id) AS last FROM pr.rows "
        "WHERE fault IS NULL) WHERE stage IN (1, 2) AND t < last"
    )
    row = run(con, sql, "split").fetchone()
    if row is None or not row[0]:
        return []
    return [
        f"{row[0]:,} rows that are held out lie before training rows of the same member, whose "
        "histories show them; to hold out what comes later, split by time"
    ]


def empty_parts(con: Connection, plan: Plan) -> list[str]:
    """A line for each part that a split by time declares and no request falls into."""
    split = plan.task.split
    if split is None or split.by not in ("time", "field"):
        return []
    sql = "SELECT DISTINCT split FROM pr.requests"
    filled = {row[0] for row in run(con, sql, "split").fetchall()}
    wanted = ["train", *(["valid"] if split.validates else []), "test"]
    return [
        f"no request falls into {part}: look at split and at the "
        + ("times of the data" if split.by == "time" else f"rows' {split.field}")
        for part in wanted
        if part not in filled
    ]


def _columns(split: Split) -> str:
    if split.by == "last":
        return f"row_number() OVER (PARTITION BY {SUBJECT} ORDER BY t DESC, request_id DESC)"
    if split.by == "subject":
        # 52 bits of a hash of the subject's name: the same share of subjects everywhere.
        return f"(('0x' || left(md5('{split.seed}:' || {SUBJECT}), 13))::BIGINT / 4503599627370496)"
    return "part"


def _expression(split: Split) -> tuple[str, str]:
    """SQL of the part's name over the helping column, and that column's name."""
    if split.by == "file":
        named_test, named_valid = literal(str(split.test)), literal(str(split.valid))
        return (
            f"CASE WHEN part_of IS NULL THEN NULL WHEN part_of = {named_test} THEN 'test' "
            f"WHEN part_of = {named_valid} THEN 'valid' ELSE 'train' END",
            "part_of",
        )
    if split.by in ("time", "field"):
        # `Boundaries` has named the parts already; what has another name is a gap.
        return "CASE WHEN part_of IN ('train', 'valid', 'test') THEN part_of END", "part_of"
    test, valid = split.amount("test"), split.amount("valid")
    column, sign = ("back", "<=") if split.by == "last" else ("share", "<")
    return (
        f"CASE WHEN {column} {sign} {test!r} THEN 'test' "
        f"WHEN {column} {sign} {test + valid!r} THEN 'valid' ELSE 'train' END",
        column,
    )


def seen_in_training(con: Connection) -> dict[str, float | None]:
    """Share of test subjects, and of the test candidates' items, that training requests hold."""
    sql = """
    SELECT count(*) FILTER (test AND train) / nullif(count(*) FILTER (test), 0) FROM
    (SELECT bool_or(split = 'train') AS train, bool_or(split = 'test') AS test FROM {rows}
     GROUP BY {by})
    """
    items = "(pr.requests JOIN pr.candidates USING (request_no))"
    shares = {}
    for name, rows, by in (("subjects", "pr.requests", SUBJECT), ("items", items, "item_id")):
        row = run(con, sql.format(rows=rows, by=by), "split").fetchone()
        shares[name] = float(row[0]) if row is not None and row[0] is not None else None
    return shares
