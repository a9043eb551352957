"""Values of fields as numbers."""

import math
import numbers
from collections.abc import Iterable
from decimal import Decimal
from typing import Any


def is_number(value: Any) -> bool:
    """Whether a value counts as a number: integers, floats, decimals and truth values do."""
    kind = type(value)
    if kind is float or kind is int or kind is bool:  # most often, and quickly told
        return True
    return isinstance(value, numbers.Real | Decimal) or kind.__name__ in ("bool", "bool_")


def finite(value: Any) -> float | None:
    """A number as a finite float; None for NaN, infinity, what is too large or is no number."""
    if not is_number(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    small = math.exp(value)
    return small / (1 + small)


def logsumexp(values: Iterable[float]) -> float:
    """log(sum(exp(v))); -inf for no values."""
    given = list(values)
    if len(given) == 1:  # most often, and what the general case gives too
        return given[0]
    top = max(given, default=-math.inf)
    if top == -math.inf:
        return -math.inf
    return top + math.log(sum([math.exp(v - top) for v in given]))
