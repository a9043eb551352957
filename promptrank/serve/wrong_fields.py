"""What pydantic finds wrong with a body's fields, in the words of whoever sent it."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from promptrank.basics.hints import near
from promptrank.requests.lost import REQUEST_COLUMNS

_KINDS = {
    "string_type": "text",
    "dict_type": "an object",
    "model_type": "an object",
    "list_type": "a list",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}
_OF_REQUEST = {"request_id", *REQUEST_COLUMNS, "candidates"}
_MOST = 5
"""Faults that are told; a body may have thousands."""


def worded_faults(error: ValidationError, body: type[BaseModel]) -> str:
    """The faults of a body by their places, ``documents.1.text: missing``, in one line."""
    faults = error.errors(include_url=False, include_input=False)
    told: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for fault in faults:
        told.setdefault(_place(fault["loc"]), []).append(fault)
    _drop_other_branches(told)
    problems = []
    if outside := [] if "request" not in body.model_fields else _outside(told):
        names = ", ".join(repr(name)[:200] for name in outside[:_MOST])
        problems.append(f"{names}: put {'this' if len(outside) == 1 else 'these'} into `request`")
    for place, mine in told.items():
        problems.append(_worded(place, mine, body))
    more = f"; and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
    return "; ".join(problems[:_MOST]) + more


def _place(loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """Keys and numbers only; where a field may be of several types, pydantic names the type too."""
    return tuple(
        part
        for n, part in enumerate(loc)
        if n == 0 or isinstance(part, int) or not (part in ("str", "int", "float") or _named(part))
    )


def _named(part: str) -> bool:
    return part[:1].isupper() or "[" in part


def _drop_other_branches(told: dict[tuple[Any, ...], list[Mapping[str, Any]]]) -> None:
    """An object that lacks a field is not also told that it might have been text."""
    for place in list(told):
        if any(len(other) > len(place) and other[: len(place)] == place for other in told):
            del told[place]


def _outside(told: dict[tuple[Any, ...], list[Mapping[str, Any]]]) -> list[str]:
    """Names of a request's own fields that stand beside it; they are taken out of what is told."""
    names = [
        place[0]
        for place, mine in told.items()
        if mine[0]["type"] == "extra_forbidden" and place[0] in _OF_REQUEST
    ]
    for name in names:
        del told[(name,)]
    if names and told.get(("request",), [{"type": ""}])[0]["type"] == "missing":
        del told[("request",)]
    return names


def _worded(
    place: tuple[Any, ...], faults: Sequence[Mapping[str, Any]], body: type[BaseModel]
) -> str:
    where = ".".join(map(str, place))[:200] or "the body"
    first = next((each for each in faults if each["type"] not in _KINDS), None)
    if first is None:
        kinds = dict.fromkeys(_KINDS[each["type"]] for each in faults)
        return f"{where}: expected {' or '.join(kinds)}"
    kind, told = first["type"], first.get("ctx", {})
    if kind == "extra_forbidden":
        known = body.model_fields if len(place) == 1 else ()
        hint = f"; {near(str(place[-1]), known)}" if known else ""
        return f"no field {where!r}{hint}"
    if kind == "missing":
        return f"{where}: missing"
    if kind == "too_short":
        least = told["min_length"]
        return f"{where}: at least {least} {'is' if least == 1 else 'are'} needed"
    return f"{where}: {first['msg']}"
