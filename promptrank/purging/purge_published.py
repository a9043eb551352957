"""Purging tables of databases that scores were published to: rows go, in one transaction."""

from collections.abc import Collection, Iterator
from pathlib import Path

from promptrank.basics.addresses import scheme_of
from promptrank.places.database_writing import check_columns
from promptrank.places.open_tables import OpenTable, open_table
from promptrank.places.sqlite_tables import sqlite_file
from promptrank.purging.proof import Occurrence, bytes_with
from promptrank.purging.purged_subject import ITEMS, PurgedSubject, as_id
from promptrank.purging.removed import Removed

_COLUMNS = ("run", "task", "request_id", "candidate_id", "subject_id", "item_id")
_OF = "coalesce(subject_id, '')"  # whom a row is for; scores of one's own may not say it
_AS_ITEM = "(item_id = $1 OR candidate_id = $1)"


def purge_table(
    name: str, root: Path, subject: PurgedSubject, requests: Collection[str], *, dry: bool
) -> Removed:
    """Remove a person's rows from a table, of whichever run and task.

    Args:
        name: its address, as ``publish --to`` takes it.
        root: folder that a path of SQLite without a leading slash is relative to.
        requests: ids of requests that are known to be theirs, for rows that do not say whose.

    Raises:
        DataError: no such table, or none that ``publish`` made.
    """
    removed = Removed(name)
    with open_table(name, root, write=not dry) as table:
        check_columns(table, _COLUMNS)
        if not dry:
            table.take_turns()
        for where, values, theirs in _parts(table, subject, requests):
            asked = f"SELECT request_id, count(*) FROM {table.sql} WHERE {where} GROUP BY 1"
            for request, rows in table.ask(asked, *values):
                removed.add("row of scores", rows)
                if theirs:
                    removed.requests.add(str(request))
            if not dry:
                table.ask(f"DELETE FROM {table.sql} WHERE {where}", *values)
        if not dry:
            table.commit()
            if scheme_of(name) == "sqlite":  # where it keeps a log, deleted rows stand there
                table.ask("PRAGMA wal_checkpoint(TRUNCATE)")
    return removed


def _parts(
    table: OpenTable, subject: PurgedSubject, requests: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Conditions of which no two hold for one row, their values, and whether requests go whole."""
    yield f"{_OF} = $1", (subject.id,), True
    named = [
        name for name, _ in table.holding("request_id", subject.id) if subject.is_request(name)
    ]
    for request in sorted(named):
        yield f"request_id = $1 AND {_OF} <> $2", (request, subject.id), True
    for request in sorted(set(requests) - set(named)):
        # Ids of requests are told apart within a task only, and the table may hold several.
        yield f"request_id = $1 AND {_OF} = ''", (request,), True
    if subject.items:
        asked = f"SELECT DISTINCT request_id FROM {table.sql} WHERE {_AS_ITEM} AND {_OF} <> $1"
        for (request,) in table.ask(asked, subject.id):
            if request not in named:
                said = f" AND {_OF} <> ''" if request in requests else ""
                where = f"{_AS_ITEM} AND {_OF} <> $1 AND request_id = $2{said}"
                yield where, (subject.id, str(request)), False


def table_occurrences(name: str, root: Path, subject: PurgedSubject) -> Iterator[Occurrence]:
    """Where the id stands in a table now, and in the bytes of a file that has no other table."""
    similar = False
    with open_table(name, root, write=False) as table:
        for column in table.columns():
            values = table.holding(column, subject.id)
            similar = similar or bool(values)
            ids = [v for v, is_number in values if column.endswith("_id") or not is_number]
            if value := next((v for v in ids if subject.stands_in(v, column)), None):
                yield Occurrence(name, column, column in ITEMS and as_id(value) == subject.id)
        alone = scheme_of(name) == "sqlite" and not _others(table, name, root)
    if alone and not similar:  # where a cell holds it, or a longer one, the bytes do too
        for file in bytes_with(sqlite_file(name, root)[0], subject, anywhere=True):
            yield Occurrence(name, f"bytes of {file}, where rows were deleted: VACUUM it")


def table_beyond(name: str, root: Path) -> str | None:
    """What of a table's database was not looked into, in words; None where nothing is left."""
    if scheme_of(name) == "postgresql":
        return (
            f"{name}: its database keeps deleted rows in its files until it vacuums, and in its "
            "logs, replicas and backups"
        )
    with open_table(name, root, write=False) as table:
        others = _others(table, name, root)
    if not others:
        return None
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return (
        f"{sqlite_file(name, root)[0]}: its other tables ({', '.join(others[:3])}{more}), and "
        "the pages of what was deleted from them"
    )


def _others(table: OpenTable, name: str, root: Path) -> list[str]:
    asked = "SELECT name FROM sqlite_schema WHERE type = 'table' AND lower(name) <> lower($1)"
    rows = table.ask(f"{asked} AND name NOT LIKE 'sqlite_%'", sqlite_file(name, root)[1])
    return sorted(str(row[0]) for row in rows)
