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
from promptrank.tables import outcomes
from promptrank.tables.boundaries import Boundaries, row_part
from promptrank.tables.build_plan import Plan
from promptrank.tables.labels import place_column, place_of, priorities, value_of
from promptrank.tables.names import ours
from promptrank.tables.statements import expression
from promptrank.tables.usable import fault, keys

_NO_PROBABILITY = (
    "CASE WHEN NOT (propensity > 0 AND propensity <= 1) THEN 'a propensity of ' || propensity || "
    "', which is not above 0 and at most 1 (null: not shown)' END"
)


def make_rows(con: Connection, plan: Plan, bounds: Boundaries | None = None) -> None:
    """Create ``pr.rows`` and put its faulty rows among the errors.

    Args:
        bounds: where a split by time divides; only outcomes that belong to a row's part count.

    Raises:
        DataError: an expression of the task does not work on its columns.
    """
    form, late = plan.task.form, plan.task.outcomes is not None
    source = "src.rows"
    if late:
        outcomes.prepare(con, plan, bounds)
        source = outcomes.beside_rows(plan)
    key = keys(plan)
    columns = {
        **{n: key[n] for n in key if n not in ("cand_id", "t")},
        "part": row_part(plan, bounds),
        "cand_id": key["cand_id"],
        "t": key["t"],
        **_numbers(plan),
        **_labels(con, plan, source),
    }
    # A name of ours never stands beside a table's own columns but under a prefix.
    beside = {**columns, "ctx": _context(plan), "known": ours("known") if late else plan.time}
    made = ", ".join(f"{e} AS {ours('row.' + n)}" for n, e in beside.items())
    statistics = _statistics(con, plan, _seen_by_statistics(plan, source))
    seen = _seen_by_statistics(plan, f"(SELECT *, {made} FROM {source})")
    chosen = [f"{ours('row.' + n)} AS {ident(n)}" for n in columns]
    chosen += [f"{e} AS {ident(n)}" for n, e in statistics.items()]
    chosen += [f"{ours('row.ctx')} AS ctx", f"CAST({ours('row.known')} AS DOUBLE) AS known"]
    chosen += [f"{ours('shown')} AS shown"] if late else []
    order = ", ".join(ident(n) for n in [*columns, *statistics, "ctx"])
    first, question = plan.first
    run(
        con,
        f"CREATE TABLE pr.rows AS SELECT row_number() OVER (ORDER BY t, {order}) AS row_no, *, "
        f"{value_of(ident(place_column(first)), question)} AS v, "
        f"coalesce({fault(plan)}, {_NO_PROBABILITY}) AS fault "
        f"FROM (SELECT {', '.join(chosen)} FROM {seen})",
        form,
    )
    _errors(con, plan)


def _seen_by_statistics(plan: Plan, source: str) -> str:
    """The rows as a statistic's expression sees them: where there are outcomes, ``label`` is what
    happened, and not a column that a table may have of that name."""
    if plan.task.outcomes is None:
        return source
    own = [ident(n) for n in plan.rows if n.casefold() == "label"]
    hidden = f" EXCLUDE ({', '.join(own)})" if own else ""
    return f"(SELECT *{hidden}, {ours('label')} AS label FROM {source})"


def _labels(con: Connection, plan: Plan, source: str) -> dict[str, str]:
    """SQL of the label, and of the place of each question's answer."""
    label = plan.task.label
    if plan.task.outcomes is not None:
        places = {place_column(n): ours(place_column(n)) for n in plan.questions}
        return {"label": ours("label"), **places, "strange": "CAST(NULL AS VARCHAR)"}
    if label is None:
        places = {place_column(n): "CAST(NULL AS TINYINT)" for n in plan.questions}
        return {"label": "CAST(NULL AS VARCHAR)", **places, "strange": "CAST(NULL AS VARCHAR)"}
    where = f"{plan.task.form}.{'candidate.' if plan.task.requests else ''}label"
    labels = {n: label for n in plan.questions} if isinstance(label, str) else label
    texts = {}
    for name, text in labels.items():
        place = where if isinstance(label, str) else f"{where}.{name}"
        value = expression(text, place)
        texts[name] = text_of(value, type_of(con, value, source, place))
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
    for name, stat in plan.summed.items():
        where = f"statistics.{name}"
        if stat.mean is not None:
            # Exact decimals: the sum of many rows is then the same in every order.
            value = expression(stat.mean, f"{where}.mean")
            kind = type_of(con, value, source, f"{where}.mean")
            if kind == "VARCHAR":
                raise DataError(f"{where}.mean: {stat.mean} is text, not a number")
            value = f"CAST({value} AS INTEGER)" if kind == "BOOLEAN" else value
            numbers[f"x_{name}"] = f"TRY_CAST({number_of(value)} AS {EXACT})"
        elif stat.count is True:
            numbers[f"x_{name}"] = f"CAST(1 AS {EXACT})"
        else:
            value = expression(str(stat.count), f"{where}.count")
            type_of(con, value, source, f"{where}.count")
            numbers[f"x_{name}"] = f"CAST(CASE WHEN {value} THEN 1 END AS {EXACT})"
    return numbers


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
    if names["propensity"] is not None:
        # An infinite one is not missing: it is no probability.
        given = f"CAST({ident(names['propensity'])} AS DOUBLE)"
        numbers["propensity"] = f"CASE WHEN NOT isnan({given}) THEN {given} END"
    return numbers


def _context(plan: Plan) -> str:
    if not plan.context:
        return "CAST(NULL AS VARCHAR)"
    fields = [clean_field(n, plan.rows[n]).removesuffix(f" AS {ident(n)}") for n in plan.context]
    named = ", ".join(f"{ident(n)} := {f}" for n, f in zip(plan.context, fields, strict=True))
    return f"struct_pack({named})"


def _errors(con: Connection, plan: Plan) -> None:
    form = plan.task.form
    run(
        con,
        "INSERT INTO pr.errors SELECT request_key, cand_id, "
        "CASE WHEN fault LIKE 'a propensity%' THEN 'bad_row' ELSE 'null_key' END, "
        f"{literal(form)} || ': a row has ' || fault || '; it was left out' FROM pr.rows "
        "WHERE fault IS NOT NULL",
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
