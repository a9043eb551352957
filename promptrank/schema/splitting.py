"""How a task is divided into training, validation and test."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from promptrank.schema.strict import Duration, Moment, Strict, seconds

FIELD_ROOTS = ("item", "member", "query", "source", "context")
"""Whose fields a split by field may hold out."""


class Split(Strict):
    """Which requests train, validate and test."""

    by: Literal["time", "last", "subject", "file", "field"]
    test: Duration | float | int | str | list[str] | None = Field(
        None,
        description="time: the last stretch (7d); last: requests per subject; subject: share of "
        "subjects; file: value of `column`, or one of the source's paths; field: values to hold "
        "out.",
    )
    valid: Duration | float | int | str | list[str] | None = Field(
        None, description="The same, before test; by field, further values to hold out."
    )
    at: Moment | None = Field(
        None, description="by time, instead of `test`: the moment from which on rows are test."
    )
    valid_at: Moment | None = Field(
        None, description="by time, instead of `valid`: from then on rows validate."
    )
    gap: Duration = Field(
        0.0,
        description="by time: left out between the last label of a part and the next part.",
    )
    column: str | None = Field(
        None,
        description="by file: column of the requests with the part's name; left out, a row's "
        "part is told by its file.",
    )
    field: str | None = Field(
        None,
        description="by field: `item.category` and the like, of which some values never train.",
    )
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _by(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("by") not in _FORMS:
            return value
        value = dict(value)
        kind = value["by"]
        _check_moments(value)
        for name, its in (("gap", "time"), ("field", "field"), ("column", "file")):
            if value.get(name) and kind != its:
                raise ValueError(f"{name}: goes with by: {its}")
        for name in ("test", "valid"):
            if value.get(name) is not None:
                value[name] = _FORMS[kind](name, value[name])
        if kind == "file":
            if value.get("column"):
                value.setdefault("test", "test")
                value.setdefault("valid", "valid")
            elif value.get("test") is None:
                raise ValueError(
                    "by file needs column: the column that names each row's part; or test: the "
                    "file to hold out, one of the paths"
                )
        elif value.get("test") is None and value.get("at") is None:
            also = ", or `at`: from when on" if kind == "time" else ""
            also = ": a list of its values" if kind == "field" else also
            raise ValueError(f"test is missing: how much to hold out{also}")
        return value

    @model_validator(mode="after")
    def _in_order(self) -> "Split":
        if self.valid_at is not None and self.at is not None and not self.valid_at < self.at:
            raise ValueError("valid_at: must lie before at, where the test part begins")
        if self.by == "file" and not self.column and self.test == self.valid:
            raise ValueError("valid: is the same file as test")
        if self.by == "field":
            root, _, name = (self.field or "").partition(".")
            if root not in FIELD_ROOTS or not name:
                roots = ", ".join(f"{root}.NAME" for root in FIELD_ROOTS)
                raise ValueError(f"by field needs field, one of {roots}")
            if both := set(self.values("test")) & set(self.values("valid")):
                raise ValueError(f"valid: {min(both)!r} is held out as test already")
        return self

    def amount(self, part: Literal["test", "valid"]) -> float:
        """How much a part holds: seconds, requests or a share; 0 where it is not declared."""
        given = self.test if part == "test" else self.valid
        return 0.0 if given is None or isinstance(given, list) else float(given)

    def values(self, part: Literal["test", "valid"]) -> list[str]:
        """The values of the field that a part holds, as text."""
        given = self.test if part == "test" else self.valid
        return given if isinstance(given, list) else []

    @property
    def validates(self) -> bool:
        """Whether the split declares a validation part."""
        return self.valid is not None or self.valid_at is not None


def _check_moments(split: Mapping[str, Any]) -> None:
    """ValueError where moments stand with another split than time, or with lengths of time."""
    moments = [n for n in ("at", "valid_at") if split.get(n) is not None]
    if not moments:
        return
    if split["by"] != "time":
        raise ValueError(f"{moments[0]}: goes with by: time")
    lengths = [n for n in ("test", "valid") if split.get(n) is not None]
    if lengths:
        raise ValueError(
            f"give moments (at, valid_at) or lengths of time (test, valid), not both "
            f"(found {' and '.join([*moments, *lengths])})"
        )
    if "at" not in moments:
        raise ValueError("valid_at: needs at, from when on rows are test")


def _count(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: by last expects a count of requests, such as 1")
    return value


def _share(name: str, value: Any) -> float:
    if not (isinstance(value, float) and 0 < value < 1):
        raise ValueError(f"{name}: by subject expects a share between 0 and 1, such as 0.2")
    return value


def _values(name: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(v, str | int | float) for v in values):
        raise ValueError(f"{name}: by field expects values to hold out, such as [Books, Music]")
    return list(map(_value, values))


def _value(value: str | int | float) -> str:
    """As `basics.sql.text_of` writes it: whole floats without ``.0``; texts stay as they are."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


_FORMS: dict[str, Callable[[str, Any], Any]] = {
    "time": lambda name, value: seconds(value),
    "last": _count,
    "subject": _share,
    "file": lambda name, value: value,
    "field": _values,
}
"""Kind of split -> what ``test`` and ``valid`` are there."""
