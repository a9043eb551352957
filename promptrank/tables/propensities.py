"""What an impressions table has for propensities, for a person who validates it."""

from collections.abc import Iterator
from dataclasses import dataclass

from promptrank.basics.plurals import counted
from promptrank.basics.sql import Connection, ident, is_number, run, text_of
from promptrank.tables.build_plan import Plan

SHOWN = 3
"""Examples that are told."""


@dataclass(frozen=True, slots=True)
class BadPropensities:
    """Rows whose propensity is no probability, or is missing where others have one.

    Attributes:
        bad, missing: how many of ``rows``.
        examples: the first bad ones: ``0 (request r1)``.
        without: the first requests that lack one.
    """

    rows: int
    bad: int
    missing: int
    examples: tuple[str, ...]
    without: tuple[str, ...]

    def lines(self, where: str) -> Iterator[str]:
        """Warnings, one sentence each."""
        if self.bad:
            yield (
                f"{where}: {counted(self.bad, 'row')} of {self.rows:,} with a propensity that is "
                f"not above 0 and at most 1, such as {', '.join(self.examples)}; they are left out "
                "(bad_row)"
            )
        if self.missing and self.missing < self.rows:
            yield (
                f"{where}: {counted(self.missing, 'row')} of {self.rows:,} without a propensity, "
                f"such as {', '.join(self.without)}: they count as not shown, and off-policy "
                "estimates do not use them"
            )


def propensities_of(con: Connection, plan: Plan) -> BadPropensities | None:
    """Look at the column of propensities; None where the task names none, or it is not there."""
    source = plan.task.requests
    column = source.candidate.propensity if source is not None else None
    if source is None or column is None or not {column, source.id} <= set(plan.rows):
        return None
    if not is_number(plan.rows[column]):
        return None  # which the checks of columns tell
    request = f"'request ' || coalesce({text_of(ident(source.id), plan.rows[source.id])}, '?')"
    given = f"CAST({ident(column)} AS DOUBLE)"
    # As `rows` reads them: NaN is missing, and an infinite one is no probability.
    missing = f"coalesce(isnan({given}), true)"
    bad = f"NOT {missing} AND NOT ({given} > 0 AND {given} <= 1)"
    first = f"{text_of(ident(column), plan.rows[column])} || ' (' || {request} || ')'"
    row = run(
        con,
        f"SELECT count(*), count(*) FILTER ({bad}), count(*) FILTER ({missing}), "
        f"(list(DISTINCT {first} ORDER BY {first}) FILTER ({bad}))[1:{SHOWN}], "
        f"(list(DISTINCT {request} ORDER BY {request}) FILTER ({missing}))[1:{SHOWN}] "
        "FROM src.rows",
        "requests.candidate.propensity",
    ).fetchone()
    if row is None:
        return None
    return BadPropensities(row[0], row[1], row[2], tuple(row[3] or ()), tuple(row[4] or ()))
