"""What may stand in a prompt: texts, finite numbers, truth values, dates and times; nothing else.

One gate, `text_of`, for ``{{ x }}``, ``~``, ``join`` and every filter that takes a text. What
Python would write of anything else (a method, a macro, a list) differs from run to run, or is no
text that anybody meant.
"""

import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any
from uuid import UUID

from jinja2 import StrictUndefined
from jinja2.runtime import BlockReference, LoopContext, Macro
from jinja2.utils import Namespace

MAX_TEXT = 1_000_000
"""Longest text, in characters, that any step of a template may make."""

_PLAIN = (numbers.Real, Decimal, date, time, timedelta, UUID)
_NUMPY = ("bool", "bool_", "datetime64", "timedelta64")
_PARTS = (list, tuple, set, frozenset, range, Mapping, bytes, Iterator)


class NotText(ValueError):
    """A value that must not be written into a prompt: null or NaN.

    Attributes:
        name: the expression that gave it, as it is written; "" where that is not known.
    """

    name = ""


class NotPlain(NotText):
    """Anything that is neither text, number, truth value nor time, and a number that is none."""


class TooLong(ValueError):
    """A text that outgrew `MAX_TEXT`."""


def text_of(value: Any) -> str:
    """The value as a prompt shows it.

    Raises:
        NotText: null or NaN; as `NotPlain`, anything that is no text, finite number, truth value,
            date or time.
        UndefinedError: there is no such value.
    """
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return _whole(value)
    if kind is float and math.isfinite(value):
        return str(value)
    if value is None:
        raise NotText("a null")
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, StrictUndefined):
        value._fail_with_undefined_error()
    if not isinstance(value, _PLAIN) and not _of_numpy(kind):
        raise NotPlain(_what(value))
    text = _whole(value) if isinstance(value, int) else str(value)
    if text.lower() in ("nan", "-nan", "snan", "nat", "<na>"):
        raise NotText("a NaN")
    if text.lower().lstrip("-") in ("inf", "infinity"):
        raise NotPlain("an infinite number; prompts hold finite ones only")
    return text


def _of_numpy(kind: type) -> bool:
    """Numpy's and pandas' own, by their names, since no other package knows them."""
    names = {"numpy": _NUMPY, "pandas._libs.missing": ("NAType",)}
    return kind.__name__ in names.get(kind.__module__, ())


def _whole(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # Python's own limit, which keeps the time bounded
        raise NotPlain("a whole number of more than 4,300 digits") from None


def _what(value: Any) -> str:
    """What cannot be printed, and what to write instead."""
    kind = type(value).__name__
    name = getattr(value, "__name__", None) if callable(value) else None
    if isinstance(value, Macro):
        return f"the macro {value.name} itself; call it: {value.name}(...)"
    if isinstance(value, BlockReference):
        return f"the block {value.name} itself; call it: super()"
    if isinstance(value, LoopContext):
        return "the loop itself; write one of its values, such as loop.index"
    if isinstance(value, Namespace):
        return "a namespace; write one of its names"
    if isinstance(value, _PARTS):
        return f"a {kind}; write its parts, or join them: | join(', ')"
    if kind == "TemplateModule" or isinstance(value, ModuleType):
        return "an imported file; call one of its macros"
    if isinstance(name, str):
        name = {"safe_range": "range", "Namespace": "namespace"}.get(name, name)
        return f"the function {name} itself; call it: {name}()"
    return f"a {kind}, and prompts hold texts, numbers, truth values and times only"


def join_texts(values: Iterable[Any], separator: str = "") -> str:
    """Texts put together, refused beyond `MAX_TEXT` before any memory is taken."""
    texts = [text_of(v) for v in values]
    length = sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0)
    if length > MAX_TEXT:
        raise TooLong(f"a text of {length:,} characters; the limit is {MAX_TEXT:,}")
    return separator.join(texts)
