"""Scores in folders by date, as tables of a data lake lie: ``scores/date=2026-11-27/``."""

import pyarrow as pa
import pyarrow.compute as pc

DATE = "date"
NO_DATE = "__HIVE_DEFAULT_PARTITION__"
"""Where Hive, Spark, DuckDB and pyarrow look for rows without a value."""
_LATEST = 253_402_300_799.0  # seconds: the end of the year 9999; what is beyond has no date


def by_date(scores: pa.Table) -> dict[str, pa.Table]:
    """Folder name -> the scores of requests of that day, in UTC, by name.

    The day is that of the request's time and not of the run, so that a run which goes on after
    midnight ends as an unbroken one, and rows of one request stay together. A table without rows
    is one without a date.
    """
    time = pc.floor(scores.column("time"))
    known = pc.if_else(pc.less_equal(pc.abs(time), _LATEST), time, None)
    seconds = pc.cast(pc.cast(known, pa.int64()), pa.timestamp("s"))
    days = pc.fill_null(pc.strftime(seconds, "%Y-%m-%d"), NO_DATE).combine_chunks()
    names = sorted(set(days.to_pylist())) or [NO_DATE]
    return {f"{DATE}={name}": scores.filter(pc.equal(days, name)) for name in names}
