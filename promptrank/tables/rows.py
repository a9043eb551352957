"""The rows to rank from, in one shape for all three forms: ``pr.rows``.

One row is one candidate-to-be: ids as text, ``t`` in seconds, ``known`` (when it counts for
statistics; NULL: never), the label with its answer by question, and what statistics are made of.
``row_no`` numbers rows by their content, so that neither file order nor threads change anything.
"""

from promptrank.basics.sql import (
    EXACT,
    Connection,
    clean_field,
    ident,
    literal,
    number_of,
    run,
    text_of,
    type_of,
)
from promptrank.errors import DataError
from promptrank.schema.data_tables import Judgements
from promptrank.tables import outcomes
from promptrank.tables.labels import place_column, place_of, priorities, value_of
from promptrank.tables.plan import Plan


def make_rows(con: Connection, plan: Plan) -> None:
    """Create ``pr.rows`` and put its faulty rows among the errors.

    Raises:
        DataError: an expression of the task does not work on its columns.
    """
    form = plan.task.form
    source = "src.rows"
    if plan.task.outcomes is not None:
        outcomes.prepare(con, plan)
        taken = {"label", "known", *(place_column(n) for n in plan.questions)} & set(plan.rows)
        hidden = f" EXCLUDE ({', '.join(ident(n) for n in sorted(taken))})" if taken else ""
        source = (
            f"(SELECT s.*{hidden}, f.* EXCLUDE (shown) "
            "FROM pr.shown s JOIN pr.final f USING (shown))"
        )
    labels = _labels(con, plan, source)
    statistics = _statistics(con, plan, source)
    ids = {f"{role}_id": plan.id_of(role) for role in ("member", "query", "source", "item")}
    columns = {
        **ids,
        "request_key": _request_key(plan),
        "part": _part(plan),
        "cand_id": _candidate_id(plan),
        "t": plan.time,
        **_numbers(plan),
        **labels,
        **statistics,
        "ctx": _context(plan),
    }
    chosen = ", ".join(f"{e} AS {ident(n)}" for n, e in columns.items())
    known = "known" if plan.task.outcomes is not None else f"{plan.time}"
    order = ", ".join(ident(n) for n in columns)
    if plan.task.outcomes is not None:
        chosen += ", shown"
    first, question = plan.first
    run(
        con,
        f"CREATE TABLE pr.rows AS SELECT row_number() OVER (ORDER BY t, {order}) AS row_no, *, "
        f"{value_of(ident(place_column(first)), question)} AS v, {_fault(plan)} AS fault "
        f"FROM (SELECT {chosen}, CAST({known} AS DOUBLE) AS known FROM {source})",
        form,
    )
    _errors(con, plan)


def _labels(con: Connection, plan: Plan, source: str) -> dict[str, str]:
    """SQL of the label, and of the place of each question's answer."""
    label = plan.task.label
    if plan.task.outcomes is not None:
        places = {place_column(n): ident(place_column(n)) for n in plan.questions}
        return {"label": "label", **places, "strange": "CAST(NULL AS VARCHAR)"}
    if label is None:
        places = {place_column(n): "CAST(NULL AS TINYINT)" for n in plan.questions}
        return {"label": "CAST(NULL AS VARCHAR)", **places, "strange": "CAST(NULL AS VARCHAR)"}
    where = f"{plan.task.form}.{'candidate.' if plan.task.requests else ''}label"
    labels = {n: label for n in plan.questions} if isinstance(label, str) else label
    texts = {}
    for name, expression in labels.items():
        place = where if isinstance(label, str) else f"{where}.{name}"
        kind = type_of(con, expression, source, place)
        texts[name] = text_of(f"({expression})", kind)
    places = {
        place_column(n): place_of(texts[n], q) if n in texts else "CAST(NULL AS TINYINT)"
        for n, q in plan.questions.items()
    }
    known = {n: f"({places[place_column(n)]}) IS NOT NULL" for n in texts}
    if isinstance(label, str):
        text = next(iter(texts.values()))
        strange = f"CASE WHEN NOT ({' OR '.join(known.values())}) THEN {text} END"
    else:
        text = f"coalesce({', '.join(texts[n] for n in plan.questions if n in texts)})"
        odd = [f"CASE WHEN NOT ({known[n]}) THEN {t} END" for n, t in texts.items()]
        strange = f"coalesce({', '.join(odd)})"
    return {"label": text, **places, "strange": strange}


def _statistics(con: Connection, plan: Plan, source: str) -> dict[str, str]:
    """SQL of each statistic's number in a row: the value of a mean, or 1 where a row counts."""
    numbers = {}
    for name, stat in plan.task.statistics.items():
        where = f"statistics.{name}"
        if stat.mean is not None:
            # Exact decimals: the sum of many rows is then the same in every order.
            kind = type_of(con, stat.mean, source, f"{where}.mean")
            value = f"({stat.mean})"
            if kind == "VARCHAR":
                raise DataError(f"{where}.mean: {stat.mean} is text, not a number")
            value = f"CAST({value} AS INTEGER)" if kind == "BOOLEAN" else value
            numbers[f"x_{name}"] = f"TRY_CAST({number_of(value)} AS {EXACT})"
        elif stat.count is True:
            numbers[f"x_{name}"] = f"CAST(1 AS {EXACT})"
        else:
            type_of(con, str(stat.count), source, f"{where}.count")
            numbers[f"x_{name}"] = f"CAST(CASE WHEN ({stat.count}) THEN 1 END AS {EXACT})"
    return numbers


def _request_key(plan: Plan) -> str:
    return plan.text(plan.task.requests.id if plan.task.requests is not None else None)


def _part(plan: Plan) -> str:
    split = plan.task.split
    if split is None or split.by != "file":
        return "CAST(NULL AS VARCHAR)"
    return plan.text(split.column)


def _candidate_id(plan: Plan) -> str:
    source = plan.task.requests
    if source is not None and source.candidate.id is not None:
        return plan.text(source.candidate.id)
    return plan.id_of("item")


def _numbers(plan: Plan) -> dict[str, str]:
    source = plan.task.requests
    candidate = source.candidate if source is not None else None
    names = {
        "position": candidate.position if candidate else None,
        "propensity": candidate.propensity if candidate else None,
        "weight": plan.weight,
        "logged_score": candidate.logged_score if candidate else None,
    }
    numbers = {
        name: f"TRY_CAST({number_of(ident(c))} AS DOUBLE)" if c else "CAST(NULL AS DOUBLE)"
        for name, c in names.items()
    }
    numbers["position"] = f"TRY_CAST({numbers['position']} AS BIGINT)"
    return numbers


def _context(plan: Plan) -> str:
    if not plan.context:
        return "CAST(NULL AS VARCHAR)"
    fields = [clean_field(n, plan.rows[n]).removesuffix(f" AS {ident(n)}") for n in plan.context]
    named = ", ".join(f"{ident(n)} := {f}" for n, f in zip(plan.context, fields, strict=True))
    return f"struct_pack({named})"


def _fault(plan: Plan) -> str:
    """SQL: what keeps a row from being used, or NULL."""
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


def _errors(con: Connection, plan: Plan) -> None:
    form = plan.task.form
    run(
        con,
        f"INSERT INTO pr.errors SELECT request_key, cand_id, 'null_key', {literal(form)} || "
        "': a row has ' || fault || '; it was left out' FROM pr.rows WHERE fault IS NOT NULL",
        form,
    )
    run(
        con,
        "INSERT INTO pr.errors SELECT request_key, cand_id, 'unknown_label', "
        f"{literal(form)} || ': no answer has the label ' || strange || "
        "'; add it to an answer''s labels' "
        "FROM pr.rows WHERE fault IS NULL AND strange IS NOT NULL",
        form,
    )
    good = run(con, "SELECT count(*) FROM pr.rows WHERE fault IS NULL", form).fetchone()
    if good is None or good[0] == 0:
        faults = run(con, "SELECT DISTINCT fault FROM pr.rows ORDER BY 1", form).fetchall()
        raise DataError(f"{form}: no row can be used: {', '.join(str(row[0]) for row in faults)}")
    _refuse_strangers(con, plan)


def _refuse_strangers(con: Connection, plan: Plan) -> None:
    """DataError where rows have labels and the task's answers know none of them."""
    places = ", ".join(ident(place_column(n)) for n in plan.questions)
    known = (
        f"coalesce({places}) IS NOT NULL" if len(plan.questions) > 1 else f"{places} IS NOT NULL"
    )
    row = run(
        con,
        f"SELECT count(*) FILTER ({known}), "
        "(list(DISTINCT strange ORDER BY strange) FILTER (strange IS NOT NULL))[1:5] FROM pr.rows "
        "WHERE fault IS NULL",
        plan.task.form,
    ).fetchone()
    if row is not None and row[0] == 0 and row[1]:
        seen, labels = ", ".join(sorted(map(repr, row[1]))), ", ".join(priorities(plan.questions))
        raise DataError(
            f"{plan.task.form}: no answer knows any label of the data, such as {seen}; "
            f"answers know {labels}"
        )
