"""Files of a table to rows whose types can be trusted: the one reader of parquet, CSV and JSON.

The policy; ``docs/reference/requests.md`` tells it to users:

* A file that says its types keeps them: all of parquet, and of JSON what is text, a number, true or
  false, a list or an object. A CSV file says none, so its columns are looked at.
* All rows are looked at before a column has a type, never the first some thousand.
* Text stays the text it is: GUIDs, dates, ``yes``, ``007`` and ``03/04/2024`` are not rewritten.
  Text of JSON is text whatever it looks like. A column of a CSV is of numbers, dates or times only
  where every value is written the way it would be printed again (numbers may say 9.90 for 9.9), and
  columns that hold ids, by the task, are text always.
* Whole numbers stay whole, of any size. Numbers that a float would lose digits of become decimals.
* A JSON column of several kinds (a number here, a text there) is text. Whole numbers stand in it
  digit for digit, others in their shortest form. So is a column on which parquet files disagree.
* Files that disagree in a way that could lose digits, or that cannot be brought together, are
  refused.
* The name of a folder (``day=2024-05-01``) is never a column.

What Python then makes of the values is said in `promptrank.requests.decode`.
"""

from promptrank.basics.sql import Connection, literal, run
from promptrank.tables.json_shapes import shape_of
from promptrank.tables.names import FILE
from promptrank.tables.parquet_files import parquet_rows
from promptrank.tables.text_columns import AS_WRITTEN, column_types, narrowed, number, typed


def table_rows(
    con: Connection,
    where: str,
    files: list[str],
    kind: str,
    ids: set[str],
    *,
    named: bool = False,
) -> str:
    """What to select a table's rows from.

    CSV and JSON are read once, into `AS_WRITTEN`, which the caller drops when it has read it.

    Args:
        where: the table's place in the task file, for messages.
        files: names or URLs, all of one kind: ``parquet``, ``csv`` or ``json``.
        ids: columns that hold ids, whether or not the files have them.
        named: with a column `FILE`, the file that a row stands in.

    Raises:
        DataError: files that cannot be read, or that do not go together.
    """
    more = f", filename = {literal(FILE)}" if named else ""
    if kind == "parquet":
        return parquet_rows(con, where, files, ids, more)
    if kind == "json":
        shape = shape_of(con, where, files, more)
        _read(con, where, shape.read)
        types = narrowed(con, where, shape.wide)
        for name in shape.numbers:
            types |= number(con, where, name)
        return typed(types)
    names = "[" + ", ".join(literal(file) for file in files) + "]"
    several = str(len(files) > 1 or "*" in files[0]).lower()
    _read(
        con,
        where,
        f"read_csv({names}, all_varchar = true, header = true, sample_size = -1, "
        f"union_by_name = {several}, hive_partitioning = false{more})",
    )
    return typed(column_types(con, where, ids | {FILE}))


def _read(con: Connection, where: str, rows: str) -> None:
    run(con, f"CREATE OR REPLACE TABLE {AS_WRITTEN} AS SELECT * FROM {rows}", f"{where}.path")
