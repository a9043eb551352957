"""Comparisons and tests of templates (``is odd``, ``is ge``) whose cost is known beforehand."""

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import Undefined
from jinja2.tests import TESTS

from promptrank.basics.numbers import is_number

LARGEST = 2**256
"""Whole numbers that are reckoned with stay below this."""

_TESTS: Mapping[str, Any] = TESTS
COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "lteq": operator.le,
    "gt": operator.gt,
    "gteq": operator.ge,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}
_COMPARING_TESTS = {"in": "in"} | {
    name: kind
    for kind, names in {
        "eq": "eq equalto ==",
        "ne": "ne !=",
        "lt": "lt lessthan <",
        "lteq": "le <=",
        "gt": "gt greaterthan >",
        "gteq": "ge >=",
    }.items()
    for name in names.split()
}


def bounded_tests(
    compare: Callable[[Any, tuple[str], Any], Any],
) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The tests that need a bound, by name.

    Args:
        compare: (left, (comparison,), right) -> whether it holds, paid for.
    """
    for name, kind in _COMPARING_TESTS.items():
        yield name, lambda left, right, kind=kind: compare(left, (kind,), right)
    # `'%999999999d' is odd` would be formatted; `is lower` writes out whatever it is given.
    for name in ("odd", "even", "divisibleby"):
        yield name, _of(is_number, _TESTS[name], f"is {name}: expected a number")
    for name in ("lower", "upper"):
        yield name, _of(_is_text, _TESTS[name], f"is {name}: expected a text")


def small(number: int) -> None:
    """OverflowError for a whole number too large to reckon with."""
    if not -LARGEST < number < LARGEST:
        raise OverflowError("whole numbers beyond 2**256 cannot be reckoned with")


def _of(
    right: Callable[[Any], bool], test: Callable[..., Any], message: str
) -> Callable[..., bool]:
    def checked(value: Any, *others: Any) -> bool:
        if not isinstance(value, Undefined) and not all(map(right, (value, *others))):
            raise TypeError(message)
        for number in (value, *others):
            if type(number) is int:
                small(number)
        return bool(test(value, *others))

    return checked


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
