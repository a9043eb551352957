"""Values of plain nested dicts, checked: whatever is wrong is a DataError that says where."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from promptrank.basics.hints import near
from promptrank.basics.numbers import finite
from promptrank.errors import DataError
from promptrank.records import EMPTY
from promptrank.requests.cells import not_a_propensity

_PLAIN = frozenset({str, int, bool, type(None)})


def check_keys(value: Any, where: str, known: tuple[str, ...]) -> None:
    """DataError unless it is a dict with none but these keys."""
    if type(value) is dict and _as_set(known).issuperset(value):  # most often, and quickly told
        return
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: expected a dict, got {type(value).__name__}")
    for key in value:
        if key not in known:
            raise DataError(f"{where}: no key {key!r}; {near(str(key), known)}")


def fields_at(value: Any, where: str) -> Mapping[str, Any]:
    """A dict of plain values; {} for None."""
    if value is None:
        return EMPTY
    if type(value) is not dict and not isinstance(value, Mapping):
        raise DataError(f"{where}: expected a dict, got {type(value).__name__}")
    # A live request has hundreds of plain values, and nobody reads the places of those.
    return {
        k: v if type(v) in _PLAIN or (type(v) is float and v == v) else _value(v, f"{where}.{k}")
        for k, v in value.items()
    }


@cache
def _as_set(known: tuple[str, ...]) -> frozenset[str]:
    return frozenset(known)


def _value(value: Any, where: str) -> Any:
    """A field's value without numpy in it, at any depth; NaN is how tables say None."""
    value = _unpacked(value, where)
    if isinstance(value, Mapping):
        return {k: _value(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_value(v, f"{where}[{i}]") for i, v in enumerate(value)]
    try:
        return value if value == value else None
    except (TypeError, ValueError):
        raise DataError(f"{where}: {type(value).__name__} is no plain value") from None


def _unpacked(value: Any, where: str) -> Any:
    """What a numpy (or torch) scalar or array holds; other values as they are."""
    if not hasattr(value, "tolist"):
        return value
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind in ("M", "m"):
        raise DataError(f"{where}: {value.dtype} is no plain value; give unix seconds or text")
    return value.tolist()


def text_at(value: Any, where: str) -> str | None:
    """Text, or a whole number as text."""
    if value is None or type(value) is str:
        return value
    value = _unpacked(value, where)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: expected text, got {type(value).__name__}")


def number_at(value: Any, where: str) -> float | None:
    """A number; NaN and infinity count as missing."""
    if value is None or (type(value) is float and math.isfinite(value)):
        return value
    value = _unpacked(value, where)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise DataError(f"{where}: expected a number, got {type(value).__name__}")
    return finite(value)


def propensity_at(value: Any, where: str) -> float | None:
    """A probability above 0 and at most 1."""
    chance = finite_at(value, where)
    if chance is not None and not 0 < chance <= 1:
        raise DataError(f"{where}: {not_a_propensity(chance)}")
    return chance


def finite_at(value: Any, where: str) -> float | None:
    """A number where infinity would be a mistake; NaN is None."""
    number = number_at(value, where)
    if number is None and value is not None and value == value:
        raise DataError(f"{where}: {value} is not finite")
    return number


def time_at(value: Any, where: str) -> float | None:
    """Unix seconds, or an order number."""
    value = _unpacked(value, where) if value is not None else None
    if isinstance(value, str):
        raise DataError(f"{where}: expected unix seconds, got {value!r:.60}")
    return finite_at(value, where)
