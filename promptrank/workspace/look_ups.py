"""Look-ups by a task's name."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.telling import Say, silent
from promptrank.workspace.tasks import OpenTask, data_folder, open_task

if TYPE_CHECKING:
    from promptrank.tables.look_up import LookUp


def open_look_up(
    task: str | OpenTask,
    *,
    project: str | Path | None = None,
    settings: Iterable[str] = (),
    say: Say = silent,
) -> "LookUp":
    """Read a task's tables, so that requests may name a member and items by their ids alone.

    What is found is what `build` writes for the same member at the same time. Close it, or use it
    as a context.

    Args:
        task: name or path of a task.
        settings: ``a.b=c`` overrides of the task file.
        say: is told what was read, and how long it took.

    Raises:
        DataError: a table that is missing, empty, or lacks a column.
    """
    from promptrank.tables.look_up import LookUp

    opened = open_task(task, project=project, settings=settings)
    root = data_folder(opened, say)
    say(f"reading the tables of {opened.name}")
    tables = LookUp(opened.task, root)
    read = tables.read
    say(
        f"{opened.name}: {read.rows:,} rows read in {read.seconds:.1f} s; "
        f"{read.size / 1e6:,.0f} MB of disk, queries hold {read.memory} of memory at most"
    )
    return tables
