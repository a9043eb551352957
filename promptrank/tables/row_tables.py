"""The first steps of both `build` and look-ups: files to rows, and snapshots of entities."""

from pathlib import Path

from promptrank.basics.sql import Connection, run
from promptrank.schema.task import Task
from promptrank.tables.boundaries import boundaries
from promptrank.tables.build_plan import ROLES, Plan
from promptrank.tables.column_checks import check_columns
from promptrank.tables.entities import snapshot
from promptrank.tables.held_out import mark_parts
from promptrank.tables.loading import load
from promptrank.tables.rows import make_rows


def read_rows(con: Connection, task: Task, root: Path, folder: Path) -> Plan:
    """Load a task's tables, write its entities' snapshots into ``folder``, and make ``pr.rows``.

    Raises:
        DataError: tables that cannot be used at all; a bad row only becomes one of ``pr.errors``.
    """
    plan = Plan(task, load(con, task, root))
    check_columns(plan)
    run(
        con,
        "CREATE TABLE pr.errors (request_id VARCHAR, candidate_id VARCHAR, reason VARCHAR, "
        "message VARCHAR)",
        "errors",
    )
    for role in ("item", *ROLES):
        name = plan.table_of(role)
        if name is not None and name not in plan.entities:
            path = folder / f"{name}.arrow"
            plan.entities[name] = snapshot(con, name, task.tables[name], path)
    make_rows(con, plan, boundaries(con, plan))
    mark_parts(con, plan)
    return plan
