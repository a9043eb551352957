"""A task's item table, for request files that bring no items of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.basics.scratch import scratch
from promptrank.basics.sql import run
from promptrank.requests.items import ItemTable
from promptrank.schema.task import Task
from promptrank.tables.entities import snapshot
from promptrank.tables.loading import database, load


@contextmanager
def task_items(task: Task, root: Path) -> Iterator[ItemTable]:
    """The item table that a task names, over a snapshot that goes away with the context.

    Args:
        root: what the paths of its tables are relative to.
    """
    name = task.item_table or ""
    table = task.tables[name]
    # A query may use any other table; a file stands for itself.
    only = {f"tables.{n}" for n in task.tables if n == name or table.sql is not None}
    with scratch() as folder:
        path = folder / "items.arrow"
        with database(root) as (con, _):
            load(con, task, root, only)
            run(
                con, "CREATE TABLE pr.errors (a VARCHAR, b VARCHAR, c VARCHAR, d VARCHAR)", "errors"
            )
            snapshot(con, name, table, path)
        yield ItemTable(path)
