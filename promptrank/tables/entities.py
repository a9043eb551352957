"""Entity tables (items, members, queries): snapshots on disk, and which version is valid when.

A snapshot is an Arrow IPC file sorted by id and time. Its first two columns are the id as text
and the time from which the row is valid (NULL: always); then come the table's own columns.
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from promptrank.basics.sql import (
    Connection,
    clean_field,
    columns,
    ident,
    literal,
    run,
    seconds_of,
    stream,
    text_of,
)
from promptrank.errors import DataError
from promptrank.requests.items import BATCH, ID, SINCE
from promptrank.schema.data_tables import Table
from promptrank.tables.names import ours


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity table that has been written as a snapshot.

    Attributes:
        name: the table's name in the task.
        path: the snapshot.
        timed: whether rows are valid from a time on.
        rows: number of rows in the snapshot.
        place: schema of its versions, as in `promptrank.tables.build_plan.Plan`.
    """

    name: str
    path: Path
    timed: bool
    rows: int
    place: str = "pr"

    @property
    def versions(self) -> str:
        """The relation (id, since, row) that tells which row of the snapshot is valid."""
        return f"{self.place}.{ident('versions_' + self.name)}"

    def join(self, left: str, key: str, time: str, alias: str) -> str:
        """SQL that joins the row that was knowable: ``since`` strictly before ``time``."""
        kind = "ASOF LEFT JOIN" if self.timed else "LEFT JOIN"
        when = f" AND {time} > {alias}.since" if self.timed else ""
        return f"{left} {kind} {self.versions} {alias} ON {key} = {alias}.id{when}"


def snapshot(con: Connection, name: str, table: Table, path: Path) -> Entity:
    """Write the snapshot of a table and create its relation of versions.

    Rows without an id become error rows, and so do rows without a time in a table that has times.

    Raises:
        DataError: two rows have the same id (and time). Which of them a request means would be a
            guess in every prompt with that item, so the whole table is refused.
    """
    where, source = f"tables.{name}", ident(name)
    kinds = columns(con, source, where)
    key = text_of(ident(table.key), kinds[table.key])
    since = "NULL"
    if table.valid_from is not None:
        kind = kinds[table.valid_from]
        since = seconds_of(ident(table.valid_from), kind, f"{where}.valid_from")
    since = f"CAST({since} AS DOUBLE)"
    fields = ", ".join(clean_field(n, k) for n, k in kinds.items())
    # Only ids and times are materialised: a wide table is sorted once, on its way to the file.
    run(con, f"CREATE TABLE pr.ids AS SELECT {key} AS id, {since} AS since FROM {source}", where)
    timed = table.valid_from is not None
    _set_aside(con, name, table, timed)
    _refuse_duplicates(con, where, table)
    entity = Entity(name, path, timed, 0)
    run(
        con,
        f"CREATE TABLE {entity.versions} AS SELECT id, since, "
        f"row_number() OVER (ORDER BY id, since) - 1 AS row FROM pr.ids "
        f"WHERE {_complete('id', 'since', timed)}",
        where,
    )
    run(con, "DROP TABLE pr.ids", where)
    # Columns are told by place: a table may call its own as it likes.
    query = (
        f"SELECT {key} AS {ours('id')}, {since} AS {ours('since')}, {fields} FROM {source} "
        f"WHERE {_complete(f'({key})', f'({since})', timed)} ORDER BY 1, 2"
    )
    rows = _write(con, query, where, path, [ID, SINCE, *kinds])
    if not rows:
        raise DataError(f"{where}: no row has a {table.key}")
    return Entity(name, path, timed, rows)


def _complete(key: str, since: str, timed: bool) -> str:
    return f"{key} IS NOT NULL" + (f" AND {since} IS NOT NULL" if timed else "")


def _write(con: Connection, query: str, where: str, path: Path, names: list[str]) -> int:
    reader = stream(con, query, where, BATCH)
    schema = pa.schema([f.with_name(n) for f, n in zip(reader.schema, names, strict=True)])
    rows = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        # Batches of exactly one size: a row's batch is then known by division.
        waiting: list[pa.RecordBatch] = []
        held = 0
        for batch in reader:
            waiting.append(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
            held += batch.num_rows
            while held >= BATCH:
                table = pa.Table.from_batches(waiting).combine_chunks()
                writer.write_table(_fresh(table.slice(0, BATCH)), max_chunksize=BATCH)
                left_over = table.slice(BATCH)
                waiting, held, rows = left_over.to_batches(), left_over.num_rows, rows + BATCH
        if held:
            table = pa.Table.from_batches(waiting).combine_chunks()
            writer.write_table(_fresh(table), max_chunksize=BATCH)
            rows += held
    return rows


def _fresh(table: pa.Table) -> pa.Table:
    """The same rows in new buffers: what lies under NULLs is then zero, so equal rows give
    equal bytes and the digest means something."""
    return table.take(pa.array(range(table.num_rows))).combine_chunks()


def _set_aside(con: Connection, name: str, table: Table, timed: bool) -> None:
    for column, test in ((table.key, "id IS NULL"), (table.valid_from, "since IS NULL")):
        if column is None or (column == table.valid_from and not timed):
            continue
        message = literal(f"tables.{name}: a row has no {column}; fill it in")
        run(
            con,
            "INSERT INTO pr.errors SELECT NULL, NULL, 'null_key', "
            f"{message} FROM pr.ids WHERE {test}",
            f"tables.{name}",
        )


def _refuse_duplicates(con: Connection, where: str, table: Table) -> None:
    twice = run(
        con,
        "SELECT id, count(*) AS n FROM pr.ids WHERE id IS NOT NULL "
        "GROUP BY id, since HAVING n > 1 ORDER BY n DESC, id LIMIT 4",
        where,
    ).fetchall()
    if not twice:
        return
    shown = ", ".join(f"{name!r} ({n} rows)" for name, n in twice[:3])
    more = ", ..." if len(twice) > 3 else ""
    what = f"{table.key} and {table.valid_from}" if table.valid_from else table.key
    hint = "" if table.valid_from else ", or name the column with each row's time as valid_from"
    raise DataError(
        f"{where}.key: several rows have one {what}: {shown}{more}; keep one row for each{hint}"
    )
