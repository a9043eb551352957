"""Columns that a file wrote as text: which of them are numbers, dates or times.

A column is what all of its values are. The tests are strict, so that nothing is rewritten: a value
must be written as it would be printed again. Numbers in floating point are the exception (9.90 is
9.9), since nobody means more by them.
"""

from collections.abc import Collection

from promptrank.basics.sql import Connection, columns, ident, run

AS_WRITTEN = "src.as_written"
"""The table that holds a text file's rows until their columns have types."""

_PLAIN = r"^-?((0|[1-9]\d*)(\.\d+)?|\.\d+)$"
# 12E4 is more often a code than a number: an exponent needs a sign, or a point before it.
_FLOAT = r"^-?((0|[1-9]\d*)(\.\d*)?[eE][+-]\d+|(0|[1-9]\d*)\.\d*[eE]\d+|nan|NaN|NAN|inf|Inf)$"
_DATE = r"^\d{4}-\d\d-\d\d$"
_TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?$"
_EXACT = 2**53  # whole numbers from here on have no floating-point form of their own
_DIGITS = 17  # so many tell every float from its neighbours; what is behind them is lost
_WIDEST = 38  # digits of DuckDB's decimals


def typed(types: dict[str, str]) -> str:
    """What to select from: `AS_WRITTEN` with some columns replaced by these expressions."""
    if not types:
        return AS_WRITTEN
    changed = ", ".join(f"{e} AS {ident(n)}" for n, e in types.items())
    return f"(SELECT * REPLACE ({changed}) FROM {AS_WRITTEN})"


def column_types(con: Connection, where: str, keep: Collection[str]) -> dict[str, str]:
    """SQL by name of the columns that are more than text, all but ``keep`` looked at."""
    names = [n for n in columns(con, AS_WRITTEN, where) if n not in keep]
    # Most columns are told by a cast; only the others are worth a regular expression.
    tests = {
        n: f"CAST(TRY_CAST({ident(n)} AS BIGINT) AS VARCHAR) = trim({ident(n)})" for n in names
    }
    whole = _hold(con, where, [(n, test) for n, test in tests.items()])
    types = {
        n: f"CAST(trim({ident(n)}) AS BIGINT)"
        for n, holds in zip(names, whole, strict=True)
        if holds
    }
    untyped = [n for n in names if n not in types]
    shapes = [(n, shape, test) for n in untyped for shape, test in _shapes(ident(n)).items()]
    holding = _hold(con, where, [(n, test) for n, _, test in shapes])
    for (name, shape, _), holds in zip(shapes, holding, strict=True):
        if holds and shape == "number":
            types |= number(con, where, name)
        elif holds:
            types[name] = f"CAST({ident(name)} AS {shape})"
    return types


def _shapes(x: str) -> dict[str, str]:
    day, clock = f"strftime(TRY_CAST({x} AS DATE), '%Y-%m-%d')", "'%Y-%m-%d %H:%M:%S'"
    return {
        "number": f"regexp_matches(trim({x}), '{_PLAIN}') OR regexp_matches(trim({x}), '{_FLOAT}')",
        "DATE": f"regexp_matches({x}, '{_DATE}') AND {day} = {x}",
        # A fraction of zero would not be printed.
        "TIMESTAMP": f"regexp_matches({x}, '{_TIME}') AND NOT ends_with({x}, '.000000') AND "
        f"starts_with({x}, strftime(TRY_CAST({x} AS TIMESTAMP), {clock}))",
    }


def number(con: Connection, where: str, name: str) -> dict[str, str]:
    """SQL by name of a column of numbers; nothing where it must stay text.

    Floats, but decimals where a float would lose digits: whole numbers of more than 64 bits (an
    EAN beside a serial number), prices of more than 17 digits.
    """
    x = f"trim({ident(name)})"
    digits = f"length(trim(replace(replace({x}, '-', ''), '.', ''), '0'))"
    row = run(
        con,
        "SELECT count(*) FILTER (isfinite(value)), count(*) FILTER (NOT plain), "
        "max(length(ltrim(split_part(x, '.', 1), '-'))) FILTER (plain), "
        "max(length(split_part(x, '.', 2))) FILTER (plain), "
        f"coalesce(bool_or(value IS NULL OR (plain AND (digits > {_DIGITS} OR abs(value) >= "
        f"{_EXACT}))), false) FROM (SELECT {x} AS x, {digits} AS digits, "
        f"regexp_matches({x}, '{_PLAIN}') AS plain, TRY_CAST({x} AS DOUBLE) AS value "
        f"FROM {AS_WRITTEN} WHERE {ident(name)} IS NOT NULL)",
        where,
    ).fetchone()
    finite, other, before, behind, lost = row or (0, 0, 0, 0, False)
    if not finite:
        return {}
    if not lost:
        return {name: f"CAST({x} AS DOUBLE)"}
    if other or before + behind > _WIDEST:
        return {}
    return {name: f"CAST({x} AS DECIMAL({_WIDEST}, {behind}))"}


def narrowed(con: Connection, where: str, names: Collection[str]) -> dict[str, str]:
    """SQL by name of those columns of whole numbers that 64 bits hold."""
    fits = [(n, f"{ident(n)} BETWEEN {-(2**63)} AND {2**63 - 1}") for n in names]
    holding = zip(names, _hold(con, where, fits), strict=True)
    return {n: f"CAST({ident(n)} AS BIGINT)" for n, holds in holding if holds}


def _hold(con: Connection, where: str, tests: list[tuple[str, str]]) -> list[bool]:
    """For each (column, test) whether all values pass, at least one."""
    if not tests:
        return []
    asked = ", ".join(
        f"count({ident(n)}) > 0 AND count(*) FILTER (({test}) IS NOT TRUE AND {ident(n)} IS NOT "
        f"NULL) = 0"
        for n, test in tests
    )
    row = run(con, f"SELECT {asked} FROM {AS_WRITTEN}", where).fetchone()
    return list(row or ())
