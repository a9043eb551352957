"""Statistics as of a moment: sums over rows known strictly before it.

Per entity the sums so far are kept at each time they change (``pr.sums_item`` and so on); the
value at a moment is the last of them before it, less the last before its window. Sums are exact
decimals, so neither row order nor threads change a digit.

Percentile: among all entities known so far, with ties at their middle: 100 x (share below +
half the share that is equal). The others' values are not taken at the very moment but at the
latest of a series of cuts before it: the times of the 1st, 2nd, ... row, then of every row whose
number has grown by a fifth. A cut's place depends on the rows before it alone, so nothing later
can move it. An entity without a row so far has no percentile.

Above: a row's number less another statistic as of the row's own time, so that what is summed was
known there. Where that statistic had no value yet, the row counts for nothing. By: `shared_values`.
"""

from promptrank.basics.sql import EXACT, Connection, ident, run
from promptrank.schema.parts import Statistic
from promptrank.tables import shared_values
from promptrank.tables.build_plan import Plan

_GROWTH = 1.2
BASE = "_v"  # no statistic can have this name


def make_sums(con: Connection, plan: Plan) -> None:
    """Create the running sums (and percentile cuts) that `join` reads."""
    if not plan.timed:
        return
    _running(con, plan)
    if lifts := {n: s.above for n, s in plan.summed.items() if s.above is not None}:
        _lift(con, plan, lifts)
        _running(con, plan)
    for name, stat in plan.summed.items():
        if stat.by is not None:
            shared_values.make_sums(con, plan, name, stat.by)
    if any(s.percentile for s in plan.summed.values()):
        _cuts(con)
        for name, stat in plan.summed.items():
            if stat.percentile:
                _distribution(con, plan, name, stat)


def _lift(con: Connection, plan: Plan, lifts: dict[str, str]) -> None:
    """Take the statistic that each is ``above`` from the rows' numbers, as of the rows."""
    below = {name: plan.summed[name] for name in dict.fromkeys(lifts.values())}
    points = f"(SELECT row_no, item_id, member_id, {plan.at('t')} AS moment FROM pr.rows)"
    less = ", ".join(
        f"{ident('x_' + n)} = CAST(r.{ident('x_' + n)} - b.{ident('st_' + a)} AS {EXACT})"
        for n, a in lifts.items()
    )
    run(
        con,
        f"UPDATE pr.rows r SET {less} FROM {join(plan, points, below, base=False)} b "
        "WHERE r.row_no = b.row_no",
        "statistics",
    )


def _running(con: Connection, plan: Plan) -> None:
    for kind, names in _kinds(plan).items():
        entity = f"{kind}_id" if kind != "all" else "0"
        inner = ", ".join(f"count({c}) AS n_{n}, sum({c}) AS s_{n}" for n, c in names.items())
        outer = ", ".join(f"sum({x}_{n}) OVER w AS {x}_{n}" for n in names for x in ("n", "s"))
        run(
            con,
            f"CREATE OR REPLACE TABLE pr.sums_{kind} AS SELECT id, known, {outer} FROM "
            f"(SELECT {entity} AS id, known, {inner} FROM pr.rows "
            "WHERE fault IS NULL AND known IS NOT NULL "
            f"AND {entity} IS NOT NULL GROUP BY ALL) WINDOW w AS (PARTITION BY id ORDER BY known)",
            "statistics",
        )


def _kinds(plan: Plan) -> dict[str, dict[str, str]]:
    """Kind of entity -> name of a sum -> the column of ``pr.rows`` that is summed."""
    kinds = {"item": {BASE: "v"}, "all": {BASE: "v"}}
    if plan.ref("member") is not None:
        kinds["member"] = {BASE: "v"}
    for name, stat in plan.summed.items():
        for kind in (stat.of, "all"):
            kinds[kind][name] = ident(f"x_{name}")
    return kinds


def join(plan: Plan, points: str, wanted: dict[str, Statistic], base: bool) -> str:
    """SQL: ``points`` with a column for each statistic as of its moment, and the baselines.

    Points need ``moment``, item_id, and member_id for what is about members; columns are named
    after the statistics, prefixed ``st_``, and ``item_count, item_mean, member_mean, mean`` after
    ``b_``.
    """
    needs: set[tuple[str, float | None]] = set()
    columns: list[str] = []
    for name, stat in wanted.items():
        needs |= {(stat.of, None), (stat.of, stat.within), ("all", None), ("all", stat.within)}
        columns.append(f"{_value(name, stat)} AS {ident('st_' + name)}")
        if stat.percentile:
            columns[-1] = f"{_percentile(name, stat)} AS {ident('st_' + name)}"
    if base:
        kinds = [k for k in ("item", "member", "all") if k in _kinds(plan)]
        needs |= {(k, None) for k in kinds}
        columns += [
            "CAST(coalesce(item.n__v, 0) AS BIGINT) AS b_item_count",
            "CAST(item.s__v AS DOUBLE) / nullif(item.n__v, 0) AS b_item_mean",
            "CAST(member.s__v AS DOUBLE) / nullif(member.n__v, 0) AS b_member_mean"
            if "member" in kinds
            else "CAST(NULL AS DOUBLE) AS b_member_mean",
            '"all".s__v::DOUBLE / nullif("all".n__v, 0) AS b_mean',
        ]
    sql = f"{points} p"
    for kind, within in sorted(needs, key=lambda n: (n[0], n[1] or 0)):
        entity = f"p.{kind}_id" if kind != "all" else "0"
        at = "p.moment" if within is None else f"(p.moment - {within!r})"
        alias = _alias(kind, within)
        sql += f" ASOF LEFT JOIN {plan.place}.sums_{kind} {alias} ON {entity} = {alias}.id"
        sql += f" AND {at} > {alias}.known"
    for name, stat in wanted.items():
        if stat.by is not None:
            sql += shared_values.join(plan, points, name, stat)
    ranked = {n: s for n, s in wanted.items() if s.percentile}
    inner = f"SELECT p.*, {', '.join(columns)} FROM {sql}" if columns else f"SELECT p.* FROM {sql}"
    if not ranked:
        return f"({inner})"
    # Second step: the value just found is looked up in its distribution at the latest cut.
    replaced, sql = [], f"({inner}) q ASOF LEFT JOIN {plan.place}.cuts c ON q.moment > c.cut"
    for name, _ in ranked.items():
        st, d, total = f"q.{ident('st_' + name)}", ident("d_" + name), ident("t_" + name)
        sql += (
            f" ASOF LEFT JOIN {plan.place}.{d} {d} ON c.cut_no = {d}.cut_no AND {st} >= {d}.value"
        )
        sql += f" LEFT JOIN {plan.place}.{total} {total} ON c.cut_no = {total}.cut_no"
        share = (
            f"CASE WHEN {d}.value = {st} THEN {d}.below + {d}.equal / 2 "
            f"ELSE coalesce({d}.below + {d}.equal, 0) END"
        )
        replaced.append(
            f"CASE WHEN {st} IS NOT NULL THEN 100 * ({share}) / {total}.total END "
            f"AS {ident('st_' + name)}"
        )
    names = ", ".join(ident("st_" + n) for n in ranked)
    return f"(SELECT q.* EXCLUDE ({names}), {', '.join(replaced)} FROM {sql})"


def _alias(kind: str, within: float | None) -> str:
    return ident(kind) if within is None else ident(f"{kind}_{within!r}")


def _sums(name: str, kind: str, within: float | None) -> tuple[str, str]:
    """SQL of the count and the sum of a statistic's rows at the moment."""
    now, then = _alias(kind, None), _alias(kind, within)
    n, s = f"coalesce({now}.n_{name}, 0)", f"coalesce({now}.s_{name}, 0)"
    if within is not None:
        n, s = f"({n} - coalesce({then}.n_{name}, 0))", f"({s} - coalesce({then}.s_{name}, 0))"
    return n, s


def _value(name: str, stat: Statistic) -> str:
    n, s = _sums(name, stat.of, stat.within)
    if stat.by is not None:
        return shared_values.value(name, stat.prior, _mean(name, stat, n, s))
    return _mean(name, stat, n, s)


def _mean(name: str, stat: Statistic, n: str, s: str) -> str:
    if stat.mean is None:
        return f"CAST({n} AS BIGINT)"
    n_all, s_all = _sums(name, "all", stat.within)
    if not stat.prior:
        return f"CAST({s} AS DOUBLE) / nullif({n}, 0)"
    overall = f"(CAST({s_all} AS DOUBLE) / nullif({n_all}, 0))"
    return f"(CAST({s} AS DOUBLE) + {stat.prior!r} * {overall}) / ({n} + {stat.prior!r})"


def _percentile(name: str, stat: Statistic) -> str:
    """The value to be ranked: none for an entity that has no row so far."""
    seen = f"{_alias(stat.of, None)}.id IS NOT NULL"
    return f"CASE WHEN {seen} THEN CAST({_value(name, stat)} AS DOUBLE) END"


def _cuts(con: Connection) -> None:
    row = run(con, "SELECT count(*) FROM pr.rows WHERE known IS NOT NULL", "statistics").fetchone()
    numbers: list[int] = []
    at = 1.0
    while row is not None and at <= row[0]:
        if not numbers or int(at) > numbers[-1]:
            numbers.append(int(at))
        at *= _GROWTH
    wanted = ", ".join(f"({n})" for n in numbers) or "(0)"
    run(
        con,
        "CREATE TABLE pr.cuts AS SELECT row_number() OVER (ORDER BY cut) AS cut_no, cut FROM "
        "(SELECT DISTINCT known AS cut FROM (SELECT known, row_number() OVER (ORDER BY known) AS n "
        "FROM pr.rows WHERE fault IS NULL AND known IS NOT NULL) "
        f"WHERE n IN (SELECT * FROM (VALUES {wanted})))",
        "statistics",
    )


def _distribution(con: Connection, plan: Plan, name: str, stat: Statistic) -> None:
    """Values of all entities at each cut: how many lie below, and how many are equal."""
    alone = stat.model_copy(update={"percentile": False})
    # The cut's own rows are known just after it, so the moment is the next double.
    points = (
        f"(SELECT c.cut_no, e.id AS {stat.of}_id, "
        "nextafter(c.cut, CAST('inf' AS DOUBLE)) AS moment FROM pr.cuts c "
        f"JOIN (SELECT id, min(known) AS first FROM pr.sums_{stat.of} GROUP BY id) e "
        "ON e.first <= c.cut)"
    )
    values = join(plan, points, {name: alone}, False)
    run(
        con,
        f"CREATE TABLE pr.{ident('d_' + name)} AS SELECT cut_no, value, equal, "
        "coalesce(sum(equal) OVER (PARTITION BY cut_no ORDER BY value "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS below FROM "
        f"(SELECT cut_no, CAST({ident('st_' + name)} AS DOUBLE) AS value, count(*) AS equal "
        f"FROM {values} WHERE {ident('st_' + name)} IS NOT NULL GROUP BY ALL)",
        f"statistics.{name}",
    )
    run(
        con,
        f"CREATE TABLE pr.{ident('t_' + name)} AS SELECT cut_no, sum(equal) AS total "
        f"FROM pr.{ident('d_' + name)} GROUP BY cut_no",
        f"statistics.{name}",
    )
