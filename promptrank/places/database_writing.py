"""Rows into a table of a database: all of them in one transaction, in place of those of before."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from promptrank.basics.sql import ident
from promptrank.errors import DataError
from promptrank.places.open_tables import DuplicateRow, OpenTable, open_table


@dataclass(frozen=True, slots=True)
class Layout:
    """Of a table that is written to.

    Attributes:
        schema: texts, 32-bit integers and floats.
        key: columns that tell one row from another, texts.
        owner: the first of them: rows that have the same values there are replaced together.
    """

    schema: pa.Schema
    key: tuple[str, ...]
    owner: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnedRows:
    """Rows that take the place of those of the same owner.

    Attributes:
        owner: its value in each column of `Layout.owner`. Rows that have none count as "".
    """

    owner: tuple[str, ...]
    batches: Iterable[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class WrittenRows:
    """How many rows of one owner were written, and how many were replaced."""

    rows: int
    replaced: int


def replace_rows(
    name: str, root: Path, layout: Layout, given: Sequence[OwnedRows]
) -> list[WrittenRows]:
    """Put rows into a table, in place of those of the same owners, in one transaction.

    The table is made where it is not there. Whoever reads it sees the rows of before until all of
    the new ones are there; where anything goes wrong nothing has changed.

    Args:
        name: as `table_address` gives it.
        root: folder that a path of SQLite without a leading slash is relative to.

    Raises:
        DataError: no connection, a table of another layout, a row that comes twice, or what else
            the database says is wrong.
        InputError: an address that names no table.
    """
    with open_table(name, root, write=True, new=True) as table:
        table.make(layout.schema, layout.key)
        table.take_turns()
        check_columns(table, layout.schema.names)
        done = [_replace(table, layout, rows) for rows in given]
        table.commit()
    return done


def check_columns(table: OpenTable, names: Sequence[str]) -> None:
    """DataError for a table that was not made by `replace_rows`, or not by this version."""
    there = table.columns()
    if missing := [name for name in names if name not in there]:
        raise DataError(
            f"{table.name}: has no column {missing[0]}, so it is not a table that publish made; "
            "name another table, which publish makes where it is not there"
        )


def _replace(table: OpenTable, layout: Layout, rows: OwnedRows) -> WrittenRows:
    columns = enumerate(layout.owner, 1)
    asked = " AND ".join(f"coalesce({ident(name)}, '') = ${place}" for place, name in columns)
    ((replaced,),) = table.ask(f"SELECT count(*) FROM {table.sql} WHERE {asked}", *rows.owner)
    table.ask(f"DELETE FROM {table.sql} WHERE {asked}", *rows.owner)
    try:
        return WrittenRows(table.insert(layout.schema, rows.batches), replaced)
    except DuplicateRow as error:
        raise DataError(_twice(table.name, layout, str(error))) from None


def _twice(name: str, layout: Layout, told: str) -> str:
    """A row that comes twice, or another one's in a table whose key is shorter than ours.

    Both databases name the columns of the key that is there.
    """
    named = re.search(r"(?:Key \(|failed: )([^)]*)", told)
    there = (
        {column.rpartition(".")[2].strip(' "') for column in named[1].split(",")} if named else ()
    )
    lacking = [column for column in layout.key if there and column not in there]
    if lacking:
        return (
            f"{name}: its key is without {', '.join(lacking)}, as in tables of earlier versions, "
            "so runs of one name with several tasks have no room in it; name another table, give "
            f"--name, or make the key ({', '.join(layout.key)})"
        )
    *_, request, candidate = layout.key
    return (
        f"{name}: one {candidate} comes twice in one {request}; give each candidate of a request "
        "one row in the scores"
    )
