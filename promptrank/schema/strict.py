"""What every part of a task file shares: strictness, durations, references to columns."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and fills aliases by either name."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=()
    )


def _seconds(value: Any) -> Any:
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
    BeforeValidator(_seconds, json_schema_input_type=str),
    Field(
        ge=0,
        description="A length of time: a number and one of s, m, h, d, w (30m, 7d).",
    ),
]
"""Seconds, written with a unit: ``30m``, ``12h``, ``7d``."""

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
