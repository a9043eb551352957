"""Slices by a field that the requests bring, ``item.brand``, or an expression over fields.

Texts and truth values make a slice each: the `MOST` most frequent ones, and one for all others.
Numbers of more than `MOST` different values are parted at their fifths. Bounds come from the
requests that are measured, so that slices are of use whatever the data.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from promptrank.basics.hints import near
from promptrank.basics.numbers import finite
from promptrank.errors import InputError
from promptrank.prompt.field_expression import NAMESPACES, FieldExpression, shortened
from promptrank.records import Candidate, Request

MOST = 9
_PARTS = 5
_LONGEST = 40
MISSING = "none"
"""The slice of candidates that have no value."""


def is_field(name: str) -> bool:
    """Whether it begins as a field does: ``item.brand``."""
    root, _, field = name.partition(".")
    return root in NAMESPACES and bool(field)


def is_plain(name: str) -> bool:
    """Whether it is nothing but a name: ``history``, ``item.brand``."""
    return all(part.isidentifier() for part in name.split("."))


def field_codes(
    name: str, requests: Iterable[Request]
) -> tuple[tuple[str, ...], Callable[[Request, Candidate], int]]:
    """Labels of a field's slices, or of an expression's, and which of them a candidate is in.

    Raises:
        InputError: no candidate has the field, or it holds lists or objects; or an expression that
            cannot be read, or has no value for any candidate.
    """
    root, _, field = name.partition(".")
    roots = [root] if is_field(name) and is_plain(name) else list(NAMESPACES)
    names: dict[str, set[str]] = {root: set() for root in NAMESPACES}
    for request in requests:
        for candidate in request.candidates:
            for each in roots:
                names[each].update(NAMESPACES[each](request, candidate) or ())
    if is_field(name) and (field in names[root] or is_plain(name)):
        fields_of = NAMESPACES[root]
        empty = (
            "it is empty everywhere" if field in names[root] else near(field, sorted(names[root]))
        )
        why = f"no candidate has it; {empty}"
        return _codes(name, requests, lambda r, c: (fields_of(r, c) or {}).get(field), why)
    value = FieldExpression(name, names)

    def value_of(request: Request, candidate: Candidate) -> Any:
        return value(
            {root: fields_of(request, candidate) for root, fields_of in NAMESPACES.items()}
        )

    return _codes(name, requests, value_of, "it has no value for any candidate", value)


def _codes(
    name: str,
    requests: Iterable[Request],
    value_of: Callable[[Request, Candidate], Any],
    empty: str,
    expression: FieldExpression | None = None,
) -> tuple[tuple[str, ...], Callable[[Request, Candidate], int]]:
    counts: Counter[Any] = Counter()
    for request in requests:
        for candidate in request.candidates:
            value = _plain(name, value_of(request, candidate))
            if value is not None:
                counts[value] += 1
    if not counts:
        if expression is not None and expression.problem:
            empty += f": {expression.problem}"
        raise InputError(f"--slice {shortened(name)}: {empty}")
    numeric = all(isinstance(value, float) for value in counts)
    labels, place = _fifths(counts) if numeric and len(counts) > MOST else _values(counts)
    labels = _told_apart([*labels, MISSING])

    def code(request: Request, candidate: Candidate) -> int:
        value = _plain(name, value_of(request, candidate))
        return len(labels) - 1 if value is None else place(value)

    return tuple(labels), code


def _plain(name: str, value: Any) -> Any:
    """Numbers as float, everything else as text; None for what is not there or not finite."""
    if value is None:
        return None
    if isinstance(value, (list, tuple, dict)):
        raise InputError(
            f"--slice {shortened(name)}: it holds lists or objects; slice by a plain field, or "
            "by an expression such as 'Drama' in item.genres"
        )
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return finite(value)
    return str(value)


def _fifths(counts: Counter[float]) -> tuple[list[str], Callable[[float], int]]:
    values = np.array(sorted(counts))
    below = np.cumsum([counts[value] for value in values])
    at = np.searchsorted(below, below[-1] * np.arange(1, _PARTS) / _PARTS, side="right")
    # The least value bounds nothing; where it is most of the mass, all others are one slice.
    bounds = sorted({float(values[place]) for place in at} - {values[0]}) or [float(values[1])]
    shown = _bounds_shown(bounds)
    spans = [f"{a} to {z}" for a, z in pairwise(shown)]
    return [f"below {shown[0]}", *spans, f"{shown[-1]} and more"], lambda v: bisect_right(bounds, v)


def _values(counts: Counter[Any]) -> tuple[list[str], Callable[[Any], int]]:
    order = sorted(counts, key=lambda value: (-counts[value], str(value)))
    kept = order if len(order) <= MOST + 1 else order[:MOST]
    places = {value: place for place, value in enumerate(kept)}
    labels = [_shown(value) for value in kept]
    if len(kept) < len(order):
        labels.append(f"others ({len(order) - len(kept)} values)")
    return labels, lambda value: places.get(value, len(kept))


def _bounds_shown(bounds: Sequence[float]) -> list[str]:
    """Bounds in as few digits as tell them apart."""
    for digits in (4, 6, 9):
        shown = [f"{bound:.{digits}g}" for bound in bounds]
        if len(set(shown)) == len(shown) and "e" not in "".join(shown):
            return shown
    return [_shown(bound) for bound in bounds]


def _shown(value: Any) -> str:
    text = " ".join(str(value).split())
    if isinstance(value, float):
        text = f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _told_apart(labels: Sequence[str]) -> list[str]:
    """Each label once: a gate names a slice by it. Later ones of a kind are numbered."""
    seen: set[str] = set()
    apart = []
    for label in labels:
        named, number = label, 1
        while named in seen:
            number += 1
            named = f"{label} ({number})"
        seen.add(named)
        apart.append(named)
    return apart
