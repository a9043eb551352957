"""Options of the kinds: typed and checked before anything that takes long."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from promptrank.errors import InputError

Read = Callable[[Any], Any]
"""A given value -> its typed value; ValueError that says what is expected."""
Options = Mapping[str, tuple[Any, Read]]
"""Name -> default and reader. A default of None may be given as well."""


def read_options(kind: str, given: Mapping[str, Any], known: Options) -> dict[str, Any]:
    """All options of a kind, typed.

    Raises:
        InputError: an option that is not known, or a value that it cannot have.
    """
    for name in given:
        if name not in known:
            raise InputError(f"{kind} has no option {name!r}; options: {', '.join(known)}")
    found = {}
    for name, (default, read) in known.items():
        value = given.get(name, default)
        try:
            found[name] = None if value is None is default else read(value)
        except ValueError as error:
            raise InputError(f"{kind}, option {name}={value}: expected {error}") from None
    return found


def whole(least: int = 1) -> Read:
    """A whole number, at least so much."""

    def read(value: Any) -> int:
        found = _number(value)
        if found is None or not found.is_integer() or found < least:
            raise ValueError(f"a whole number of at least {least}")
        return int(found)

    return read


def positive(value: Any) -> float:
    """A number above 0."""
    found = _number(value)
    if found is None or found <= 0:
        raise ValueError("a number above 0")
    return found


def one_of(*names: str) -> Read:
    """One of these words."""

    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(" or ".join(names))
        return str(value)

    return read


def dropout(value: Any) -> float | list[float]:
    """A share, or [lowest layer, highest layer]."""
    given = value if isinstance(value, list | tuple) else [value]
    found = [n for n in map(_number, given) if n is not None and 0 <= n < 1]
    pair = isinstance(value, list | tuple)
    if len(found) != len(given) or (pair and len(found) != 2):
        raise ValueError("a number from 0 to below 1, or a list of two such as [0.5,0.1]")
    return found if pair else found[0]


def _number(value: Any) -> float | None:
    """The value as a finite float; YAML reads 5e-2 as text, and a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
