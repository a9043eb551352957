"""What every part of a task file shares: strictness, durations, references to columns."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and infinite numbers; aliases by either name."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )


def seconds(value: Any) -> Any:
    """Seconds of a length of time written with its unit; anything but text and numbers as it is."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("expected a duration such as 30m, 12h, 7d or 2w")
        return float(match[1]) * _UNITS[match[2]]
    if isinstance(value, bool) or (isinstance(value, int | float) and value != 0):
        raise ValueError("expected a duration with a unit, such as 30m, 12h, 7d or 2w")
    return value


Duration = Annotated[
    float,
    BeforeValidator(seconds, json_schema_input_type=str),
    Field(
        ge=0,
        description="A length of time: a number and one of s, m, h, d, w (30m, 7d).",
    ),
]
"""Seconds, written with a unit: ``30m``, ``12h``, ``7d``."""

_YEAR_5000 = 95_617_584_000.0
_AS_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")


def _moment(value: Any) -> float:
    """Unix seconds of a date (its first second), a date with a time, or a number; UTC."""
    wanted = "expected a date such as 2020-08-25, a date and time, or unix seconds"
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise ValueError(f"{wanted}; {value[:40]!r} is none of them") from error
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(wanted)
    if not abs(value) < _YEAR_5000:
        raise ValueError(f"{wanted}; this lies beyond the year 5000 (milliseconds? divide by 1000)")
    if isinstance(value, int) and _AS_DATE.fullmatch(str(value)):
        text = str(value)
        raise ValueError(f"write the date as {text[:4]}-{text[4:6]}-{text[6:]}")
    return float(value)


Moment = Annotated[
    float,
    BeforeValidator(_moment, json_schema_input_type=str | float),
    Field(description="A moment: a date, a date and time (UTC without a zone), or unix seconds."),
]
"""Unix seconds, written as ``2020-08-25``, ``2020-08-25 12:00`` or a number."""

Sql = Annotated[str, Field(min_length=1)]
"""A DuckDB expression or query."""


class Ref(Strict):
    """A column that names a row: of a table of this task, or of none.

    Written short as one string: a table's name (then the column bears the name of the table's
    key), or else the column's own name.
    """

    table: str | None = Field(None, description="Table the column points into.")
    column: str | None = Field(None, description="Column; the table's key where left out.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        # Which of the two it is, only the task knows: resolved by `Task.column`.
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _something(self) -> "Ref":
        if self.table is None and self.column is None:
            raise ValueError("give a table, a column, or both")
        return self
