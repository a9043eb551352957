"""Outcomes: what happened to a shown candidate, and from when on that was known.

`prepare` makes, over the impressions in ``src.rows``:

- ``pr.final`` (shown, label, a_<question>..., known): what finally happened within the window,
  unlabelled where the window reaches beyond the data;
- ``pr.versions`` (shown, known, label, a_<question>...): what was known from ``known`` on, one
  row for each time it changed; the window's close is the last change.

``shown`` is the number of an impression in ``pr.shown`` (shown, request_id, candidate_id, t), and
in ``pr.given``, which holds the impressions' own columns.
"""

from promptrank.basics.sql import Connection, ident, literal, run, seconds_of, text_of
from promptrank.errors import DataError
from promptrank.schema.data_tables import Outcomes
from promptrank.tables.boundaries import Boundaries
from promptrank.tables.build_plan import Plan
from promptrank.tables.labels import label_of, place_column, place_of, priority_of
from promptrank.tables.names import ours


def prepare(con: Connection, plan: Plan, bounds: Boundaries | None) -> None:
    """Create ``pr.given``, ``pr.shown``, ``pr.actions``, ``pr.final`` and ``pr.versions``.

    Args:
        bounds: of a split by time; without a window only outcomes before the end of an
            impression's part count, so that nothing of a later part becomes a label.
    """
    outcomes = plan.task.outcomes
    assert outcomes is not None and plan.task.requests is not None
    request, candidate = plan.task.requests, plan.task.requests.candidate
    shown_id = (
        candidate.id
        if candidate.id is not None
        else plan.task.refs()["requests.candidate.item"].column
    )
    run(
        con,
        f"CREATE TABLE pr.given AS SELECT row_number() OVER () AS {ours('shown')}, * FROM src.rows",
        "requests",
    )
    run(
        con,
        f"CREATE VIEW pr.shown AS SELECT {ours('shown')} AS shown, {plan.text(request.id)} AS "
        f"request_id, {plan.text(shown_id)} AS candidate_id, {plan.time} AS t FROM pr.given",
        "requests",
    )
    _actions(con, plan, outcomes)
    _unknown(con, plan)
    _final(con, plan, outcomes, bounds)
    _versions(con, plan, outcomes)


def beside_rows(plan: Plan) -> str:
    """The task's own rows, each beside its final outcome, under names that no table can have."""
    names = ["label", "known", *(place_column(n) for n in plan.questions)]
    final = ", ".join(f"f.{ident(n)} AS {ours(n)}" for n in names)
    return f"(SELECT g.*, {final} FROM pr.given g JOIN pr.final f ON g.{ours('shown')} = f.shown)"


def _actions(con: Connection, plan: Plan, outcomes: Outcomes) -> None:
    """Actions that fall to an impression within its window; `place` columns by question."""
    kinds = plan.kinds["outcomes"]
    keys = [text_of(ident(k), kinds[k]) for k in outcomes.key]
    if len(keys) == 1 and plan.task.requests is not None:
        if plan.task.requests.candidate.id is None:
            raise DataError(
                "outcomes.key: one column must hold candidate ids, so requests.candidate.id "
                "must be given; or name two columns: the request's id and the item's"
            )
        keys = ["NULL", *keys]
    at = "CAST(NULL AS DOUBLE)"
    if outcomes.time is not None:
        at = seconds_of(ident(outcomes.time), kinds[outcomes.time], "outcomes.time")
    label = text_of(ident(outcomes.label), kinds[outcomes.label])
    same = "" if len(outcomes.key) == 1 else "s.request_id = o.request AND "
    # Before it was shown, or after the window, it is no outcome of this impression.
    window = "" if outcomes.time is None else " AND o.happened >= s.t"
    if outcomes.within is not None:
        window += f" AND o.happened <= s.t + {outcomes.within!r}"
    ranks = ", ".join(
        f"{place_of('o.label', q)} AS {ident(place_column(n))}" for n, q in plan.questions.items()
    )
    run(
        con,
        f"CREATE TABLE pr.actions AS SELECT s.shown, s.t, o.happened, o.label, "
        f"{priority_of('o.label', plan.questions)} AS priority, {ranks}, "
        "s.request_id, s.candidate_id "
        f"FROM (SELECT {keys[0]} AS request, {keys[1]} AS candidate, {at} AS happened, "
        f"{label} AS label FROM src.outcomes) o JOIN pr.shown s "
        f"ON {same}s.candidate_id = o.candidate WHERE o.label IS NOT NULL{window}",
        "outcomes",
    )


def _unknown(con: Connection, plan: Plan) -> None:
    hint = "; add it to an answer's labels" if plan.questions else ""
    run(
        con,
        "INSERT INTO pr.errors SELECT DISTINCT request_id, candidate_id, 'unknown_label', "
        f"'outcomes: no answer has the label ' || label || {literal(hint)} "
        "FROM pr.actions WHERE priority IS NULL",
        "outcomes",
    )


def _none(plan: Plan, outcomes: Outcomes) -> tuple[dict[str, str], str]:
    """For each question the answer's place where nothing happened, and that label's priority."""
    if outcomes.none is None:
        return {n: "NULL" for n in plan.questions}, "NULL"
    label = literal(outcomes.none)
    return (
        {n: place_of(label, q) for n, q in plan.questions.items()},
        priority_of(label, plan.questions),
    )


def _final(con: Connection, plan: Plan, outcomes: Outcomes, bounds: Boundaries | None) -> None:
    none, none_priority = _none(plan, outcomes)
    # `greatest` passes over NULL: without any action the last impression is the end.
    end = "(SELECT greatest(max(t), (SELECT max(happened) FROM pr.actions)) FROM pr.shown)"
    closed = "true" if outcomes.within is None else f"(s.t + {outcomes.within!r} <= {end})"
    # Something happened that no answer covers: to say that nothing did would be wrong.
    blank = "(coalesce(b.strange, false) AND b.priority IS NULL)"
    known = "s.t" if outcomes.time is None else "CAST(NULL AS DOUBLE)"
    if outcomes.within is not None:
        known = f"s.t + {outcomes.within!r}"
    best, chosen = [], []
    for name in plan.questions:
        column = ident(place_column(name))
        best.append(f"min({column}) AS {column}")
        chosen.append(
            f"CASE WHEN {closed} THEN coalesce(b.{column}, "
            f"CASE WHEN NOT {blank} THEN {none[name]} END) END AS {column}"
        )
    counted = "pr.actions"
    if bounds is not None and outcomes.time is not None and outcomes.within is None:
        counted = f"(SELECT * FROM pr.actions WHERE {bounds.in_time('t', 'happened')})"
    nothing = f"CASE WHEN NOT {blank} THEN {none_priority} END"
    priority = f"CASE WHEN {closed} THEN coalesce(b.priority, {nothing}) END"
    run(
        con,
        f"CREATE TABLE pr.final AS SELECT s.shown, {label_of(priority, plan.questions)} AS label, "
        f"{', '.join(chosen)}, {known} AS known FROM pr.shown s LEFT JOIN (SELECT shown, "
        f"min(priority) AS priority, bool_or(priority IS NULL) AS strange, {', '.join(best)} "
        f"FROM {counted} GROUP BY shown) b USING (shown)",
        "outcomes",
    )


def _versions(con: Connection, plan: Plan, outcomes: Outcomes) -> None:
    columns = [ident(place_column(n)) for n in plan.questions]
    plain = ", ".join(columns)
    if outcomes.time is None:
        run(
            con,
            f"CREATE VIEW pr.versions AS SELECT shown, known, label, {plain}, 1 AS step "
            "FROM pr.final WHERE label IS NOT NULL",
            "outcomes",
        )
        return
    so_far = ", ".join(f"min({c}) OVER w AS {c}" for c in columns)
    parts = [
        "SELECT DISTINCT shown, happened AS known, min(priority) OVER w AS priority, "
        f"{so_far}, 0 AS step FROM pr.actions WHERE priority IS NOT NULL "
        # The frame ends with all rows of the same time: ties are one moment.
        "WINDOW w AS (PARTITION BY shown ORDER BY happened)"
    ]
    if outcomes.within is not None and outcomes.none is not None:
        priority = priority_of("label", plan.questions)
        parts.append(
            f"SELECT shown, known, {priority} AS priority, {plain}, 1 AS step "
            "FROM pr.final WHERE label IS NOT NULL"
        )
    run(
        con,
        "CREATE VIEW pr.versions AS SELECT shown, known, "
        f"{label_of('priority', plan.questions)} AS label, {plain}, step "
        f"FROM ({' UNION ALL '.join(parts)})",
        "outcomes",
    )
