"""Whole numbers of bodies: 3.0 is one in JSON; 3.5, "3" and true are none."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field


def whole(value: Any) -> Any:
    """A number that is whole as an int; anything else as it is, for whoever checks it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Field(ge=0), BeforeValidator(whole)]
Positive = Annotated[int, Field(ge=1), BeforeValidator(whole)]
