"""Values of a request file as the records want them; RowError where they cannot be had.

JSON has no types of columns, so every value is looked at; the order of the checks keeps that cheap
for values that are what they should be.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
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
            # It has no UTF-8 form, so no score file could hold it.
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
    number = _float(value, where)
    if number is not None and math.isinf(number):
        raise RowError("bad_row", f"{where}: {number} is not finite")
    return number


def measure(value: Any, where: str) -> float | None:
    """A number that was computed; NaN and infinity count as missing."""
    measured = _float(value, where)
    return None if measured is None or math.isinf(measured) else measured


def weight(value: Any) -> float | None:
    """A weight: finite and at least 0."""
    weighed = number(value, "weight")
    if weighed is not None and weighed < 0:
        raise RowError("bad_row", f"weight: {weighed:g} is less than 0")
    return weighed


def propensity(value: Any) -> float | None:
    """The probability with which something was shown: above 0, at most 1; NaN is null."""
    chance = _float(value, "propensity")
    if chance is not None and not 0 < chance <= 1:
        raise RowError("bad_row", f"propensity: {not_a_propensity(chance)}")
    return chance


def not_a_propensity(chance: float) -> str:
    """What is wrong with a number that should be a propensity, and what to do."""
    return (
        f"{chance:g} is not above 0 and at most 1; give the probability with which the candidate "
        "was shown, and null where it was not shown"
    )


def place(value: Any, where: str) -> int | None:
    """A whole number, also where it comes as 3.0."""
    if value is None or type(value) is int:
        return value
    measured = measure(value, where)
    if measured is None:
        return None
    if measured != math.floor(measured):
        raise RowError("bad_row", f"{where}: {measured:g} is not a whole number")
    return int(measured)


def measures(value: Any, where: str) -> Mapping[str, float | None]:
    """An object of `measure` values."""
    values = record(value, where)
    # Nearly always all is well, and then nothing is copied; x - x is not 0 for infinities.
    for x in values.values():
        if x is not None and type(x) is not int and (type(x) is not float or x - x != 0):
            return {name: measure(x, f"{where}.{name}") for name, x in values.items()}
    return values


def count(value: Any) -> int:
    """A count that another program left in ``meta``; 0 where it is none."""
    return value if type(value) is int else 0


def _float(value: Any, where: str) -> float | None:
    """A float that may be infinite; None for NaN, as everywhere."""
    if value is None:
        return None
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise _wrong(where, "a number", value)
        try:
            value = float(value)
        except OverflowError:
            return math.inf
    return None if math.isnan(value) else value


def _wrong(where: str, wanted: str, value: Any) -> RowError:
    return RowError("bad_row", f"{where}: expected {wanted}, got {type(value).__name__}")
