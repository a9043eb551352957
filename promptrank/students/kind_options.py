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
    options = {}
    for name, (default, read) in known.items():
        value = given.get(name, default)
        try:
            options[name] = None if value is None is default else read(value)
        except ValueError as error:
            raise InputError(f"{kind}, option {name}={value}: expected {error}") from None
    return options


def whole(least: int = 1) -> Read:
    """A whole number of at least ``least``."""

    def read(value: Any) -> int:
        number = _number(value)
        if number is None or not number.is_integer() or number < least:
            raise ValueError(f"a whole number of at least {least}")
        return int(number)

    return read


def positive(value: Any) -> float:
    """A number above 0."""
    number = _number(value)
    if number is None or number <= 0:
        raise ValueError("a number above 0")
    return number


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
    shares = [n for n in map(_number, given) if n is not None and 0 <= n < 1]
    pair = isinstance(value, list | tuple)
    if len(shares) != len(given) or (pair and len(shares) != 2):
        raise ValueError("a number from 0 to below 1, or a list of two such as [0.5,0.1]")
    return shares if pair else shares[0]


def _number(value: Any) -> float | None:
    """The value as a finite float; None for a boolean and for what is no number.

    Texts are read too, because YAML takes 5e-2 for a text.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
