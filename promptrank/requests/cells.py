"""Values of a request file as the records want them; RowError where they cannot be had.

JSON has no types of columns, so every value is looked at; the order of the checks keeps that cheap
for values that are what they should be.
"""

import math
from collections.abc import Mapping
from typing import Any

from promptrank.errors import RowError
from promptrank.records import EMPTY


def text(value: Any, where: str) -> str | None:
    """Ids and names: text, or whole numbers as text."""
    if type(value) is str:
        if value.isascii():
            return value
        try:
            value.encode()
        except UnicodeEncodeError:
            # No file that is written later could hold it.
            raise RowError("bad_row", f"{where}: half a character (a lone surrogate)") from None
        return value
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _wrong(where, "text", value)


def label(value: Any, where: str) -> str | None:
    """Text and nothing else."""
    if value is None or type(value) is str:
        return value
    raise _wrong(where, "text", value)


def record(value: Any, where: str) -> Mapping[str, Any]:
    """An object; an empty one for NULL."""
    if value is None:
        return EMPTY
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    return value


def number(value: Any, where: str) -> float | None:
    """A number that must be finite."""
    found = _float(value, where)
    if found is not None and math.isinf(found):
        raise RowError("bad_row", f"{where}: {found} is not finite")
    return found


def measure(value: Any, where: str) -> float | None:
    """A number that somebody computed: infinite is as good as missing."""
    found = _float(value, where)
    return None if found is None or math.isinf(found) else found


def weight(value: Any) -> float | None:
    """A weight: finite and at least 0."""
    found = number(value, "weight")
    if found is not None and found < 0:
        raise RowError("bad_row", f"weight: {found:g} is less than 0")
    return found


def place(value: Any, where: str) -> int | None:
    """A whole number, also where it comes as 3.0."""
    if value is None or type(value) is int:
        return value
    found = measure(value, where)
    if found is None:
        return None
    if found != math.floor(found):
        raise RowError("bad_row", f"{where}: {found:g} is not a whole number")
    return int(found)


def measures(value: Any, where: str) -> Mapping[str, float | None]:
    """An object of `measure` values."""
    found = record(value, where)
    # Nearly always all is well, and then nothing is copied; x - x is not 0 for infinities.
    for one in found.values():
        if one is not None and type(one) is not int and (type(one) is not float or one - one != 0):
            return {name: measure(x, f"{where}.{name}") for name, x in found.items()}
    return found


def count(value: Any) -> int:
    """A count that another program left in ``meta``; 0 where it is none."""
    return value if type(value) is int else 0


def _float(value: Any, where: str) -> float | None:
    """A float that may be infinite; None for NaN, as everywhere."""
    if value is None:
        return None
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(where, "a number", value)
        try:
            value = float(value)
        except OverflowError:
            return math.inf
    return None if math.isnan(value) else value


def _wrong(where: str, wanted: str, value: Any) -> RowError:
    return RowError("bad_row", f"{where}: expected {wanted}, got {type(value).__name__}")
