"""Columns of text that a task names as times."""

from collections.abc import Iterator, Mapping

from promptrank.basics.sql import Connection, ident, run
from promptrank.errors import DataError
from promptrank.schema.task import Task

_ISO = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( ?([zZ]|[+-]\d\d(:?\d\d)?))?)?$"


def refuse_odd_times(
    con: Connection, task: Task, relations: Mapping[str, str], kinds: Mapping[str, dict[str, str]]
) -> None:
    """DataError, a line for each column of text that is named as a time and is not all ISO 8601.

    Args:
        relations: place in the task file -> relation.
        kinds: place -> column -> type.
    """
    problems = []
    for where, place, column in _named(task):
        if kinds.get(place, {}).get(column) != "VARCHAR":
            continue
        x = ident(column)
        row = run(
            con,
            f"SELECT {x} FROM {relations[place]} WHERE {x} IS NOT NULL AND NOT "
            f"(regexp_matches({x}, '{_ISO}') AND TRY_CAST({x} AS TIMESTAMPTZ) IS NOT NULL) LIMIT 1",
            where,
        ).fetchone()
        if row is not None:
            problems.append(
                f"{where}: {column} is of type VARCHAR, not unix seconds or a timestamp, and "
                f"{row[0]!r:.60} is not written as one (2024-05-01, 2024-05-01T08:00:00Z); convert "
                f"it under columns:, such as strptime({column}, '%d.%m.%Y')"
            )
    if problems:
        raise DataError("\n".join(problems))


def _named(task: Task) -> Iterator[tuple[str, str, str]]:
    """Every column that the task names as a time: place in the file, source, column."""
    for name, table in task.tables.items():
        if table.valid_from is not None:
            yield f"tables.{name}.valid_from", f"tables.{name}", table.valid_from
    if task.clock is not None:
        yield f"{task.form}.{'order' if task.ordered_only else 'time'}", task.form, task.clock
    if task.outcomes is not None and task.outcomes.time is not None:
        yield "outcomes.time", "outcomes", task.outcomes.time
    if task.history is not None and task.history.events is not None:
        yield "history.events.time", "history.events", task.history.events.time
