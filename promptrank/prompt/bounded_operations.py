"""What templates reckon with (``+ - * / // ** %``), bounded before any memory is taken."""

from typing import Any

from promptrank.basics.numbers import is_number
from promptrank.prompt.bounded_tests import LARGEST, small
from promptrank.prompt.printing import MAX_TEXT, TooLong

NUMBERS = frozenset((int, float))
"""Types of numbers whose sums and products cost next to nothing."""

MEMBER = 32
"""Units of looking at one member of a list."""


def bounded_operation(operator: str, left: Any, right: Any) -> int:
    """Units that ``left operator right`` costs beyond its place in the template.

    Raises:
        OverflowError: whole numbers, or a power, too large to reckon with.
        TypeError: ``%`` of a text, which would be formatted.
        TooLong: a text or list that would outgrow `MAX_TEXT`.
    """
    for value in (left, right):
        if type(value) is int and not -LARGEST < value < LARGEST:
            small(value)
    if type(left) in NUMBERS and type(right) in NUMBERS and operator != "**":
        return 0
    if operator == "**":
        fits = is_number(left) and is_number(right) and abs(right) <= 64
        if not fits or abs(left) > 2**32:
            raise OverflowError("** takes numbers below 2**32, exponents up to 64")
    elif operator == "%" and isinstance(left, str | bytes):
        raise TypeError("% divides numbers only; put texts together with ~")
    elif operator in "+*":
        sizes = [len(v) for v in (left, right) if isinstance(v, str | bytes | list | tuple)]
        if sizes:
            size = sum(sizes)
            if operator == "*":
                size *= max([1, *(int(v) for v in (left, right) if isinstance(v, int))])
            if size > MAX_TEXT:
                raise TooLong(f"{operator} would make more than {MAX_TEXT:,} characters")
            return size if isinstance(left, str) or isinstance(right, str) else MEMBER * size
    return 0
