"""A split by field: some values of a field, as a category of items, never train.

An item (or member, query, source) is held out as a whole where any version of it has such a value.
Rows of what has no value are left out of all parts. Training requests show no event and draw no
negative that is held out; those of validation none of the test part.
"""

from promptrank.basics.hints import near
from promptrank.basics.sql import Connection, ident, literal, run, text_of
from promptrank.errors import DataError
from promptrank.schema.splitting import Split
from promptrank.tables.build_plan import Plan

STAGES = {"train": 0, "valid": 1, "test": 2}
"""Part -> its stage; a request sees what is of its own stage or a lower one."""
_LISTS = ("[]", "STRUCT", "MAP")


def mark_parts(con: Connection, plan: Plan) -> None:
    """Fill ``part`` of ``pr.rows``, and make ``pr.held`` (id, part) of what the field is about.

    Raises:
        DataError: no such field, one that holds lists, or a value to hold out that nothing has.
    """
    split = plan.task.split
    if split is None or split.field is None:
        return
    root, _, name = split.field.partition(".")
    if root == "context":
        source, key, kinds, of = "src.rows", "NULL", plan.rows, plan.task.form
    else:
        table = plan.table_of(root) or ""
        source, kinds, of = ident(table), plan.kinds[f"tables.{table}"], f"tables.{table}"
        key = text_of(ident(plan.task.tables[table].key), kinds[plan.task.tables[table].key])
    if name not in kinds:
        raise DataError(f"split.field: no column {name!r} in {of}; {near(name, kinds)}")
    if any(mark in kinds[name] for mark in _LISTS):
        raise DataError(
            f"split.field: {split.field} holds lists or objects; make a column of plain values "
            f"under columns of {of}, such as \"list_contains({name}, 'Drama')\""
        )
    value = compared(ident(name), kinds[name])
    _check_values(con, split, f"SELECT DISTINCT {value} AS v FROM {source}")
    if root == "context":
        return  # `boundaries.row_part` has told them
    run(
        con,
        f"CREATE TABLE pr.held AS SELECT id, {_part(split)} AS part FROM "
        f"(SELECT {key} AS id, {value} AS v FROM {source}) WHERE id IS NOT NULL GROUP BY id",
        "split.field",
    )
    run(
        con,
        "CREATE TABLE pr.parted AS SELECT r.* REPLACE (h.part AS part) FROM pr.rows r "
        f"LEFT JOIN pr.held h ON r.{root}_id = h.id",
        "split.field",
    )
    run(con, "DROP TABLE pr.rows; ALTER TABLE pr.parted RENAME TO rows", "split.field")


def compared(column: str, kind: str) -> str:
    """SQL: a column's values as a split writes its own: 2, 2.0 and 2.00 are one number, '2.0' is
    a text.
    """
    if kind.startswith("DECIMAL"):
        return text_of(f"CAST({column} AS DOUBLE)", "DOUBLE")
    return text_of(column, kind)


def value_part(split: Split, value: str) -> str:
    """SQL: the part of a value; NULL where there is none."""
    return (
        f"CASE WHEN {value} IN {_listed(split.values('test'))} THEN 'test' "
        f"WHEN {value} IN {_listed(split.values('valid'))} THEN 'valid' "
        f"WHEN {value} IS NOT NULL THEN 'train' END"
    )


def _part(split: Split) -> str:
    """SQL over ``v``, a value of each version: the part of all of them together."""
    return (
        f"CASE WHEN bool_or(v IN {_listed(split.values('test'))}) THEN 'test' "
        f"WHEN bool_or(v IN {_listed(split.values('valid'))}) THEN 'valid' "
        "WHEN count(v) > 0 THEN 'train' END"
    )


def _listed(values: list[str]) -> str:
    return f"({', '.join(map(literal, values)) or 'NULL'})"


def _check_values(con: Connection, split: Split, distinct: str) -> None:
    for part in ("test", "valid"):
        for value in split.values(part):
            sql = f"SELECT 1 FROM ({distinct}) WHERE v = {literal(value)} LIMIT 1"
            if run(con, sql, "split.field").fetchone() is None:
                some = f"SELECT v FROM ({distinct}) WHERE v IS NOT NULL ORDER BY v LIMIT 1000"
                known = [str(row[0]) for row in run(con, some, "split.field").fetchall()]
                raise DataError(
                    f"split.{part}: nothing has the value {value!r} of {split.field}; "
                    f"{near(value, known)}"
                )


def stage(part: str) -> str:
    """SQL: the stage of a part; what has no part is shown to test requests alone."""
    whens = " ".join(f"WHEN '{name}' THEN {number}" for name, number in STAGES.items())
    return f"CAST(CASE {part} {whens} ELSE {STAGES['test']} END AS TINYINT)"


def stages_of_pool(con: Connection, plan: Plan) -> list[int | None] | None:
    """For each item of ``pr.pool`` its stage, None where it has none; None if items have no parts.

    Negatives are drawn from the items of a request's own stage.
    """
    split = plan.task.split
    if split is None or not (split.field or "").startswith("item."):
        return None
    sql = "SELECT h.part FROM pr.pool p LEFT JOIN pr.held h ON h.id = p.item_id ORDER BY p.n"
    return [STAGES.get(row[0]) for row in run(con, sql, "split.field").fetchall()]
