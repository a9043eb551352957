"""Which fields the tables of a task supply to its templates: for ``promptrank validate``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from promptrank.basics.sql import Connection, ident, run
from promptrank.schema.task import Task
from promptrank.tables.build_plan import ROLES, Plan
from promptrank.tables.column_checks import column_problems
from promptrank.tables.loading import database, load
from promptrank.tables.propensities import propensities_of


@dataclass(frozen=True, slots=True)
class SuppliedField:
    """One field.

    Attributes:
        type: DuckDB's name of its type.
        nulls: how many of ``rows`` rows hold none; None where counting is not cheap.
    """

    type: str
    nulls: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Supplied:
    """What the data supplies.

    Attributes:
        fields: namespace (item, member, query, source, context, event_context, stats) -> name ->
            field; a namespace that the task does not have is missing.
        problems: columns that the task names and its tables lack, one line each.
        warnings: what of the rows will be left out, one line each.
    """

    fields: dict[str, dict[str, SuppliedField]]
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def columns_of(task: Task, root: Path) -> Supplied:
    """Look at the tables of a task without building anything.

    Raises:
        DataError: a table that cannot be read at all.
    """
    with database(root) as (con, _):
        plan = Plan(task, load(con, task, root))
        fields = {role: _entity(con, plan, role) for role in ("item", *ROLES) if plan.ref(role)}
        if "member" in fields:
            fields["member"] |= _numbers(plan, "member")
        fields["context"] = _columns(con, "src.rows", plan.rows, plan.context)
        fields["stats"] = _numbers(plan, "item")
        fields["stats"] |= {name: SuppliedField("DOUBLE") for name in plan.matched}
        fields["event_context"] = fields["context"]
        if task.history is not None and task.history.events is not None:
            kinds = plan.kinds["history.events"]
            names = task.history.events.context
            fields["event_context"] = _columns(con, "src.events", kinds, names)
        chances = propensities_of(con, plan)
        told = () if chances is None else tuple(chances.lines("requests.candidate.propensity"))
        return Supplied(fields, tuple(column_problems(plan)), told)


def _entity(con: Connection, plan: Plan, role: str) -> dict[str, SuppliedField]:
    table = plan.table_of(role)
    if table is None:
        return {"text": SuppliedField("VARCHAR")} if role == "query" else {}
    kinds = plan.kinds[f"tables.{table}"]
    return _columns(con, ident(table), kinds, list(kinds))


def _columns(
    con: Connection, relation: str, kinds: Mapping[str, str], names: list[str]
) -> dict[str, SuppliedField]:
    here = [name for name in names if name in kinds]
    if not here:
        return {}
    counts = ", ".join(f"count({ident(name)})" for name in here)
    row = run(con, f"SELECT count(*), {counts} FROM {relation}", relation).fetchone() or ()
    total = int(row[0])
    return {
        name: SuppliedField(kinds[name], total - int(n), total)
        for name, n in zip(here, row[1:], strict=True)
    }


def _numbers(plan: Plan, of: str) -> dict[str, SuppliedField]:
    return {
        name: SuppliedField(
            "BIGINT" if stat.count is not False and not stat.percentile else "DOUBLE"
        )
        for name, stat in plan.statistics(of).items()
    }
