"""Columns that a task names against those its tables have; all problems at once."""

from collections.abc import Iterator

from promptrank.basics.hints import near
from promptrank.errors import DataError
from promptrank.schema.data_tables import Impressions, Judgements, Ratings
from promptrank.schema.task import Task
from promptrank.tables.build_plan import Plan
from promptrank.tables.labels import priorities
from promptrank.tables.statements import expression


def check_columns(plan: Plan) -> None:
    """DataError with one line for each column that is not there."""
    problems = column_problems(plan)
    if problems:
        raise DataError("\n".join(problems))


def column_problems(plan: Plan) -> list[str]:
    """One line for each column that is not there, and for what needs a time where there is none."""
    problems = [
        f"{where}: no column {column!r} in {source}; {near(column, plan.kinds[source])}"
        for where, source, column in _named(plan)
        if column not in plan.kinds[source]
    ]
    if not plan.timed:
        problems += [
            f"tables.{name}.valid_from: needs a time in {plan.task.form}"
            for name, table in plan.task.tables.items()
            if table.valid_from is not None
        ]
        if plan.task.history is not None:
            problems.append(f"history: needs a time in {plan.task.form}")
    problems += [*_unknown_labels(plan), *_fields_twice(plan), *_no_expressions(plan.task)]
    split = plan.task.split
    if split is not None and split.column and split.column not in plan.rows:
        problems.append(
            f"split.column: no column {split.column!r} in {plan.task.form}; "
            f"{near(split.column, plan.rows)}"
        )
    return problems


def _no_expressions(task: Task) -> Iterator[str]:
    """What is wrong with the task's SQL, other than the columns it names; nothing is run."""
    label = f"{task.form}.candidate.label" if task.requests is not None else f"{task.form}.label"
    texts: dict[str, str | None] = {}
    if isinstance(task.label, dict):
        texts |= {f"{label}.{name}": text for name, text in task.label.items()}
    else:
        texts[label] = task.label
    for name, stat in task.statistics.items():
        texts[f"statistics.{name}.mean"] = stat.mean
        texts[f"statistics.{name}.by"] = stat.by
        texts[f"statistics.{name}.count"] = stat.count if isinstance(stat.count, str) else None
    if task.history is not None and task.history.events is not None:
        texts["history.events.action"] = task.history.events.action
    for where, text in texts.items():
        try:
            if text is not None:
                expression(text, where)
        except DataError as error:
            yield str(error)


def _unknown_labels(plan: Plan) -> list[str]:
    """Labels that the task itself gives out, and that none of its answers knows."""
    given = {}
    if plan.task.outcomes is not None:
        given["outcomes.none"] = plan.task.outcomes.none
    if plan.negatives is not None:
        given[f"{plan.task.form}.negatives.label"] = plan.negatives.label
    known = priorities(plan.questions)
    return [
        f"{where}: no answer has the label {label!r}; {near(label, known)}"
        for where, label in given.items()
        if label is not None and label not in known
    ]


def _fields_twice(plan: Plan) -> list[str]:
    """Statistics about members that are called like a column of the members' table."""
    table = plan.table_of("member")
    names = {n.casefold(): n for n in plan.kinds.get(f"tables.{table}", ())}
    return [
        f"statistics.{name}: tables.{table} has a column {names[name]!r}, and a template sees both "
        f"as member.{name}; rename the statistic"
        for name in plan.statistics("member")
        if name in names
    ]


def _named(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Every column the task names: place in the file, source, column."""
    task = plan.task
    for name, table in task.tables.items():
        yield f"tables.{name}.key", f"tables.{name}", table.key
        if table.valid_from is not None:
            yield f"tables.{name}.valid_from", f"tables.{name}", table.valid_from
    for where, ref in task.refs().items():
        source = "history.events" if where.startswith("history") else task.form
        if ref.column is not None:
            yield where, source, ref.column
    for where, column in _of_rows(task.source):
        yield f"{task.form}.{where}", task.form, column
    for name, fields in plan.matched.items():
        where, query = f"statistics.{name}.bm25", plan.table_of("query")
        yield from ((where, f"tables.{task.item_table}", field) for field in fields)
        if query is not None:
            yield where, f"tables.{query}", "text"
    if task.outcomes is not None:
        for i, column in enumerate(task.outcomes.key):
            yield f"outcomes.key[{i}]", "outcomes", column
        yield "outcomes.label", "outcomes", task.outcomes.label
        if task.outcomes.time is not None:
            yield "outcomes.time", "outcomes", task.outcomes.time
    if task.history is not None and task.history.events is not None:
        yield "history.events.time", "history.events", task.history.events.time
        for column in task.history.events.context:
            yield "history.events.context", "history.events", column


def _of_rows(source: Ratings | Judgements | Impressions) -> Iterator[tuple[str, str]]:
    named: list[tuple[str, str | None]] = [("time", source.time)]
    if isinstance(source, Ratings):
        named.append(("order", source.order))
    if isinstance(source, Impressions):
        candidate = source.candidate
        named.append(("id", source.id))
        names = ("id", "position", "propensity", "weight", "logged_score")
        named += [(f"candidate.{n}", getattr(candidate, n)) for n in names]
        named += [("candidate.context", c) for c in candidate.context]
    else:
        named.append(("weight", source.weight))
        named += [("context", c) for c in source.context]
    for where, column in named:
        if column is not None:
            yield where, column
