"""Which rows can be used: every role that the task asks for is filled, and so is the time."""

from promptrank.basics.sql import Connection, literal, run
from promptrank.schema.data_tables import Judgements
from promptrank.tables.build_plan import Plan


def keys(plan: Plan) -> dict[str, str]:
    """SQL over the task's own rows: what says whose and which row it is, by our name for it."""
    ids = {f"{role}_id": plan.id_of(role) for role in ("member", "query", "source", "item")}
    requests = plan.task.requests
    named = plan.text(requests.id if requests is not None else None)
    candidate = ids["item_id"]
    if requests is not None and requests.candidate.id is not None:
        candidate = plan.text(requests.candidate.id)
    return {**ids, "request_key": named, "cand_id": candidate, "t": plan.time}


def fault(plan: Plan) -> str:
    """SQL over `keys`: what keeps a row from being used, or NULL."""
    cases = []
    if plan.task.requests is not None:
        cases.append(("request_key IS NULL", f"no {plan.task.requests.id}"))
        roles = [r for r in ("member", "query", "source") if plan.ref(r) is not None]
        nobody = " AND ".join(f"{r}_id IS NULL" for r in roles)
        cases.append((nobody, f"none of {', '.join(roles)}"))
        cases.append(("cand_id IS NULL", "no candidate id"))
    elif isinstance(plan.task.source, Judgements):
        role = "query" if plan.task.source.query is not None else "source"
        cases.append((f"{role}_id IS NULL", f"no {role}"))
    else:
        cases.append(("member_id IS NULL", "no member"))
    cases.append(("item_id IS NULL", "no item"))
    if plan.timed:
        cases.append(("t IS NULL", f"no {plan.task.clock}"))
    whens = " ".join(f"WHEN {test} THEN {literal(what)}" for test, what in cases)
    return f"CASE {whens} END"


def last_time(con: Connection, plan: Plan) -> float:
    """The time of the last row that can be used, in seconds; 0 where none can.

    What is wrong with all rows is told when they are made.
    """
    fields = ", ".join(f"{e} AS {n}" for n, e in keys(plan).items())
    row = run(
        con,
        f"SELECT max(t) FROM (SELECT {fields} FROM src.rows) WHERE {fault(plan)} IS NULL",
        plan.task.form,
    ).fetchone()
    if row is None or row[0] is None:
        return 0.0
    return float(row[0])
