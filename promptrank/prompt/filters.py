"""Filters of templates: those that prompts need, and none that pads, grows or draws at random.

Ours: ``percentile``, ``ago``, ``bucket``, ``truncate_words``, ``join_nonempty``. Of Jinja's own
only the names in `BUILT_IN` are offered, and the text filters among them refuse null and NaN, which
Jinja would write out as words.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from itertools import pairwise
from typing import Any

from jinja2.filters import FILTERS, do_truncate

from promptrank.prompt.printing import MAX_TEXT, NotText, TooLong, join_texts, text_of

_OFFERED = (
    "abs capitalize count d default dictsort first float int items last length list lower map max "
    "min reject rejectattr reverse round select selectattr sort string title trim truncate unique "
    "upper wordcount"
)
BUILT_IN = tuple(_OFFERED.split())

_TEXT = ("capitalize", "lower", "string", "title", "upper", "wordcount")
_SORTING = ("dictsort", "max", "min", "sort", "unique")
_EACH = ("map", "reject", "rejectattr", "select", "selectattr")
_UNITS_OF = {"title": 64, "wordcount": 16} | dict.fromkeys(_SORTING, 20) | dict.fromkeys(_EACH, 8)
"""Filters that cost more than a look at what they are given, in looks."""

_AMONG: Mapping[str, Callable[[list[Any]], Any]] = {"min": min, "max": max}
_NUMBERS = frozenset((int, float))
_NO_POLICY: Any = None  # `do_truncate` reads its environment for a leeway that is left out

_UNITS = (("hour", 3600), ("day", 86400), ("week", 604800), ("month", 2592000), ("year", 31536000))
_UNTIL = (86400, 14 * 86400, 60 * 86400, 730 * 86400, math.inf)


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
    text, old, new = text_of(value), text_of(old), text_of(new)
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
        return f"under {text_of(edges[0])}"
    if place == len(steps):
        return f"{text_of(edges[-1])} or more"
    return f"{text_of(edges[place - 1])} to {text_of(edges[place])}"


def trim(value: Any, chars: str | None = None) -> str:
    """The text without white space, or without ``chars``, at its ends."""
    if chars is not None and len(chars) > 100:
        raise ValueError("trim: more than 100 characters to take away")
    return text_of(value).strip(chars)


def truncate(
    value: Any, length: int = 255, killwords: bool = False, end: str = "...", leeway: int = 5
) -> str:
    """The first ``length`` characters, ``end`` among them; Jinja's own, with its limits told."""
    end = text_of(end)
    if not _is_whole(length) or length < len(end):
        raise ValueError(
            f"truncate: expected a length of at least {len(end)} characters (those of {end!r})"
        )
    if not _is_whole(leeway) or leeway < 0:
        raise ValueError("truncate: expected a leeway of 0 characters or more")
    return str(do_truncate(_NO_POLICY, text_of(value), length, killwords, end, leeway))


def truncate_words(value: Any, count: int, end: str = "...") -> str:
    """The first ``count`` words, one space between them, and ``end`` if words were left out.

    A text of no more words stays exactly as it is.
    """
    text = text_of(value)
    if not _is_whole(count) or count < 1:
        raise ValueError("truncate_words: keep at least one word")
    words = text.split(None, count)
    if len(words) <= count:
        return text
    return " ".join(words[:count]) + text_of(end)


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**31


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


def _extreme(function: Callable[..., Any], among: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """``min`` or ``max``: Jinja's own, and Python's where a list holds numbers alone."""

    @wraps(function)
    def extreme(environment: Any, values: Any, *others: Any, **options: Any) -> Any:
        plain = type(values) is list and values and not others and not options
        if plain and _NUMBERS.issuperset(map(type, values)):
            return among(values)
        return function(environment, values, *others, **options)

    return extreme


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
    filters |= {name: costing(filters[name], units) for name, units in _UNITS_OF.items()}
    filters |= {name: _extreme(filters[name], among) for name, among in _AMONG.items()}
    ours = (percentile, ago, bucket, trim, truncate, truncate_words, join_nonempty, join, replace)
    return filters | {f.__name__: f for f in ours} | {"round": _round}


def costing(function: Callable[..., Any], units: int) -> Callable[..., Any]:
    """The filter, marked as costing so many units for each that its first argument weighs."""

    @wraps(function)
    def marked(*values: Any, **options: Any) -> Any:
        return function(*values, **options)

    marked.units = units  # type: ignore[attr-defined]
    return marked
