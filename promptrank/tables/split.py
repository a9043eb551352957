"""Which requests train, validate and test, and what the test has seen in training."""

from promptrank.basics.sql import Connection, literal, run
from promptrank.schema.parts import Split
from promptrank.tables.plan import Plan

SUBJECT = "coalesce(member_id, query_id, source_id)"


def make_split(con: Connection, plan: Plan) -> int:
    """Fill ``split`` in ``pr.requests``; returns how many requests fell into gaps.

    These are not written, and in a split by file neither are requests without a part.
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
    return int(gone[0]) if gone is not None else 0


def _columns(split: Split) -> str:
    if split.by == "time":
        return "max(t) OVER ()"
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
    test, valid, gap = float(split.test or 0), float(split.valid or 0), split.gap
    if split.by == "time":
        cases = [(test, "'test'"), (test + gap, "NULL")]
        if valid:
            cases += [(test + gap + valid, "'valid'"), (test + gap + valid + gap, "NULL")]
        whens = " ".join(f"WHEN t > last - {back!r} THEN {part}" for back, part in cases)
        return f"CASE {whens} ELSE 'train' END", "last"
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
