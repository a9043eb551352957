"""Filters of templates: those that prompts need, and none that pads, grows or draws at random.

Ours: ``percentile``, ``ago``, ``bucket``, ``truncate_words``, ``join_nonempty``. Of Jinja's own
only the names in `BUILT_IN` are offered, and the text filters among them refuse null and NaN, which
Jinja would write out as words.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from jinja2.filters import FILTERS

MAX_TEXT = 1_000_000
"""Longest text, in characters, that any step of a template may make."""

_OFFERED = (
    "abs capitalize count d default dictsort first float int items last length list lower map max "
    "min reject rejectattr reverse round select selectattr sort string title trim truncate unique "
    "upper wordcount"
)
BUILT_IN = tuple(_OFFERED.split())

_TEXT = ("capitalize", "lower", "string", "title", "trim", "truncate", "upper", "wordcount")
_UNITS = (("hour", 3600), ("day", 86400), ("week", 604800), ("month", 2592000), ("year", 31536000))
_UNTIL = (86400, 14 * 86400, 60 * 86400, 730 * 86400, math.inf)


class NotText(ValueError):
    """A value that must not be written into a prompt: null or NaN."""


class NotPlain(NotText):
    """A value with parts, whose Python form must not be written into a prompt."""


class TooLong(ValueError):
    """A text that outgrew `MAX_TEXT`."""


def text_of(value: Any) -> str:
    """The value as a prompt shows it; null, NaN and containers raise `NotText`."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return str(value)
    if value is None:
        raise NotText("a null")
    if isinstance(value, list | tuple | set | frozenset | Mapping | bytes):
        raise NotPlain(f"a {kind.__name__}; write its parts, or join them: | join(', ')")
    if not isinstance(value, str) and _is_nan(value):
        raise NotText("a NaN")
    return str(value)


def _is_nan(value: Any) -> bool:
    # By its name too: NaT, pandas' NA, and NaN as a Decimal or a numpy number are no floats.
    return (isinstance(value, float) and value != value) or str(value) in (
        "nan",
        "NaN",
        "NaT",
        "<NA>",
    )


def join_texts(values: Iterable[Any], separator: str = "") -> str:
    """Texts put together, refused beyond `MAX_TEXT` before any memory is taken."""
    texts = [text_of(v) for v in values]
    length = sum(map(len, texts)) + len(separator) * max(len(texts) - 1, 0)
    if length > MAX_TEXT:
        raise TooLong(f"a text of {length:,} characters; the limit is {MAX_TEXT:,}")
    return separator.join(texts)


def join(values: Iterable[Any], separator: str = "") -> str:
    """``{{ item.genres | join(", ") }}``"""
    if isinstance(values, str):
        raise NotText("a single text where join expects a list")
    return join_texts(values, text_of(separator))


def join_nonempty(values: Iterable[Any], separator: str = ", ") -> str:
    """Joins what is neither null, NaN nor blank: ``{{ [item.a, item.b] | join_nonempty }}``."""
    if isinstance(values, str):
        raise NotText("a single text where join_nonempty expects a list")
    kept = [v for v in values if v is not None and not (isinstance(v, float) and v != v)]
    texts = [text for v in kept if (text := text_of(v).strip())]
    return join_texts(texts, text_of(separator))


def replace(value: Any, old: str, new: str) -> str:
    """Every ``old`` replaced by ``new``."""
    text = text_of(value)
    if not old:
        raise ValueError("replace: the text to look for is empty")
    if len(text) + text.count(old) * (len(new) - len(old)) > MAX_TEXT:
        raise TooLong(f"replace would make more than {MAX_TEXT:,} characters")
    return text.replace(old, new)


def percentile(value: float) -> str:
    """A percentile (0-100, as a statistic with ``percentile: true`` gives it) in words.

    50 and above counts from the top, below from the bottom, in whole per cents, never less than
    1: 88 is ``top 12%``, 99.9 ``top 1%``, 30 ``bottom 30%``, 0 ``bottom 1%``. Shares (0-1) are not
    meant.
    """
    number = _number(value, "percentile")
    if not 0 <= number <= 100:
        raise ValueError(f"percentile: expected a number from 0 to 100, got {value}")
    side, distance = ("top", 100 - number) if number >= 50 else ("bottom", number)
    return f"{side} {max(1, math.floor(distance + 0.5))}%"


def ago(seconds: float) -> str:
    """An age in seconds in words, rounded down: ``just now``, ``5 minutes ago``, ``2 days ago``.

    Minutes below an hour, hours below a day, days below 14, weeks below 60 days, months (of 30
    days) below 730 days, then years (of 365 days). Below a minute: ``just now``. Negative ages are
    refused.
    """
    number = _number(seconds, "ago")
    if number < 0 or math.isinf(number):
        raise ValueError(f"ago: expected an age of 0 seconds or more, got {seconds}")
    if number < 60:
        return "just now"
    unit, size = "minute", 60
    if number >= 3600:
        unit, size = next(u for u, until in zip(_UNITS, _UNTIL, strict=True) if number < until)
    count = int(number // size)
    return f"{count} {unit}{'' if count == 1 else 's'} ago"


def bucket(value: float, edges: Sequence[float], names: Sequence[str] | None = None) -> str:
    """The range a number falls into; a number equal to an edge belongs to the range above it.

    ``{{ 30 | bucket([10, 50]) }}`` is ``10 to 50`` (else ``under 10`` or ``50 or more``); with
    ``names``, one more than there are edges, it is the range's name.
    """
    number = _number(value, "bucket")
    steps = [_number(e, "bucket") for e in edges]
    if not steps or any(a >= b for a, b in pairwise(steps)):
        raise ValueError("bucket: edges must be numbers that increase, at least one")
    if names is not None and len(names) != len(steps) + 1:
        raise ValueError(f"bucket: {len(steps)} edges need {len(steps) + 1} names")
    place = sum(number >= step for step in steps)
    if names is not None:
        return text_of(names[place])
    if place == 0:
        return f"under {edges[0]}"
    if place == len(steps):
        return f"{edges[-1]} or more"
    return f"{edges[place - 1]} to {edges[place]}"


def truncate_words(value: Any, count: int, end: str = "...") -> str:
    """The first ``count`` words, one space between them, and ``end`` if words were left out.

    A text of no more words stays exactly as it is.
    """
    text = text_of(value)
    words = text.split(None, count)
    if count < 1:
        raise ValueError("truncate_words: keep at least one word")
    if len(words) <= count:
        return text
    return " ".join(words[:count]) + end


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool):
        raise ValueError(f"{name}: expected a number, got {value}")
    if not isinstance(value, int | float):
        if value is None:
            raise NotText(f"a null where {name} expects a number")
        try:
            return float(value)  # Decimal and numpy numbers
        except (TypeError, ValueError):
            raise ValueError(f"{name}: expected a number, got {value!r:.60}") from None
    if value != value:
        raise NotText(f"a NaN where {name} expects a number")
    return float(value)


def _round(value: Any, precision: int = 0, method: str = "common") -> float:
    if not 0 <= precision <= 15:
        raise ValueError("round: precision goes from 0 to 15")
    number = _number(value, "round")
    if method not in ("common", "ceil", "floor"):
        raise ValueError("round: method is common, ceil or floor")
    if method == "common":
        rounded: float = round(number, precision)
        return rounded
    scaled = number * 10**precision
    whole = math.ceil(scaled) if method == "ceil" else math.floor(scaled)
    return float(whole / 10**precision)


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """A text filter of Jinja's behind `text_of`; keeps the mark of what it is passed first."""
    marked = hasattr(function, "jinja_pass_arg")

    def checked(first: Any, *others: Any, **options: Any) -> Any:
        if marked:
            return function(first, text_of(others[0]), *others[1:], **options)
        return function(text_of(first), *others, **options)

    if marked:
        checked.jinja_pass_arg = function.jinja_pass_arg  # type: ignore[attr-defined]
    return checked


def all_filters() -> dict[str, Callable[..., Any]]:
    """Every filter that templates have, by name."""
    filters = {name: FILTERS[name] for name in BUILT_IN}
    filters |= {name: _checked(FILTERS[name]) for name in _TEXT}
    ours = (percentile, ago, bucket, truncate_words, join_nonempty, join, replace)
    return filters | {f.__name__: f for f in ours} | {"round": _round}
