"""Scores in folders by date, as tables of a data lake lie: ``scores/date=2026-11-27/``."""

import pyarrow as pa
import pyarrow.compute as pc

DATE = "date"
NO_DATE = "__HIVE_DEFAULT_PARTITION__"
"""Where Hive, Spark, DuckDB and pyarrow look for rows without a value."""


def by_date(scores: pa.Table) -> dict[str, pa.Table]:
    """Folder name -> the scores of requests of that day, in UTC, by name.

    The day is that of the request's time and not of the run, so that a run which goes on after
    midnight ends as an unbroken one, and rows of one request stay together. A table without rows
    is one without a date.
    """
    seconds = pc.cast(pc.floor(scores.column("time")), pa.timestamp("s"), safe=False)
    days = pc.fill_null(pc.strftime(seconds, "%Y-%m-%d"), NO_DATE).combine_chunks()
    names = sorted(set(days.to_pylist())) or [NO_DATE]
    return {f"{DATE}={name}": scores.filter(pc.equal(days, name)) for name in names}
