"""What there is to look at in a field's value: numbers, texts, a list's length, an object's fields.

An object is opened once; what lies in objects of its own, or in lists of them, is not looked at.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from promptrank.basics.numbers import finite, is_number

_MOST_WHOLE = 100  # longer lists of whole numbers are series or vectors, not categories


def looks(
    name: str, value: Any, inside: bool = False
) -> Iterator[tuple[str, float | tuple[str, ...] | None]]:
    """Name and content of all that a value offers; nothing where it is missing.

    A list's length is a number of its own, so is the mean of a list of numbers; ``''`` is a text.

    Args:
        inside: whether the value lies in an object.

    Yields:
        A number, texts, or None for what cannot be looked at.
    """
    if value is None:
        return
    if is_number(value):
        number = finite(value)
        if number is not None:
            yield name, number
    elif isinstance(value, str):
        yield name, (value,)
    elif isinstance(value, datetime):
        yield name, (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, date):
        yield name, float(value.toordinal())
    elif isinstance(value, timedelta):
        yield name, value.total_seconds()
    elif isinstance(value, Mapping) and not inside:
        for key, each in value.items():
            yield from looks(f"{name}.{key}", each, inside=True)
    elif isinstance(value, list | tuple | set | frozenset | np.ndarray):
        yield from _of_list(name, [each for each in value if each is not None], len(value))
    else:
        yield name, None


def _of_list(
    name: str, values: list[Any], length: int
) -> Iterator[tuple[str, float | tuple[str, ...] | None]]:
    yield f"{name} (length)", float(length)
    texts = {each for each in values if isinstance(each, str) and each}
    numbers = [each for each in values if is_number(each)]
    if numbers and len(numbers) <= _MOST_WHOLE and all(isinstance(n, int) for n in numbers):
        texts |= set(map(str, numbers))
    if texts:
        yield name, tuple(sorted(texts))
    known = [n for n in map(finite, numbers) if n is not None]
    if known:
        yield f"{name} (mean)", sum(known) / len(known)
    if any(not isinstance(each, str) and not is_number(each) for each in values):
        yield name, None
