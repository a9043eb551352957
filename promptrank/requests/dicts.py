"""Requests as plain nested dicts, for the Python API: friendly about what is left out."""

from collections.abc import Mapping
from typing import Any

from promptrank.basics.hints import near
from promptrank.basics.numbers import finite
from promptrank.errors import DataError
from promptrank.records import EMPTY, Candidate, Event, Item, Request, Subject
from promptrank.requests.cells import not_a_propensity
from promptrank.requests.lost import REQUEST_COLUMNS

_REQUEST = ("request_id", *REQUEST_COLUMNS, "candidates")
_CANDIDATE = (
    "candidate_id",
    "item_id",
    "item",
    "context",
    "stats",
    "position",
    "propensity",
    "weight",
    "logged_score",
    "outcomes",
    "baseline",
    "label_source",
)
_EVENT = ("item_id", "item", "action", "time", "context", "stats", "outcomes")
_SETS: dict[tuple[str, ...], frozenset[str]] = {
    known: frozenset(known) for known in (_REQUEST, _CANDIDATE, _EVENT)
}
_PLAIN = frozenset({str, int, bool, type(None)})


def request_from_dict(data: Mapping[str, Any]) -> Request:
    """A request from ``{"query": ..., "candidates": [{"item": {...}}, ...]}``.

    Subject: ``member`` and ``source`` are dicts of fields, ``query`` is text or a dict of fields;
    there may be none of them. Ids may be left out: an item without ``item_id`` is named after its
    place (``item-3``). An entry of ``candidates`` or ``history`` names its fields under ``item``.
    Values from numpy become plain ones; NaN becomes None.

    Raises:
        DataError: what is wrong, and where (``candidates[3].item: expected a dict, got str``).
    """
    _keys(data, "request", _REQUEST)
    time = _finite(data.get("time"), "time")
    listed = data.get("candidates")
    if not isinstance(listed, list | tuple) or not listed:
        raise DataError("candidates: expected a list of at least one candidate")
    candidates: dict[str, Candidate] = {}
    for i, entry in enumerate(listed):
        candidate = _candidate(entry, i)
        if candidate.candidate_id in candidates:
            raise DataError(
                f"candidates[{i}]: {candidate.candidate_id!r} stands twice; give candidate_id"
            )
        candidates[candidate.candidate_id] = candidate
    events = data.get("history")
    events = () if events is None else events
    if not isinstance(events, list | tuple):
        raise DataError(f"history: expected a list, got {type(events).__name__}")
    history = tuple(_event(entry, i, time) for i, entry in enumerate(events))
    return Request(
        _text(data.get("request_id"), "request_id") or "request",
        _subject(data),
        tuple(candidates.values()),
        _sorted(history),
        time,
        _text(data.get("split"), "split"),
        _fields(data.get("meta"), "meta"),
    )


def _subject(data: Mapping[str, Any]) -> Subject:
    member_id = _text(data.get("member_id"), "member_id")
    query_id = _text(data.get("query_id"), "query_id")
    member, query, source = data.get("member"), data.get("query"), data.get("source")
    if isinstance(query, str):
        query_id, query = query_id or str(query), {"text": query}
    item = None
    if source is not None:
        fields = _fields(source, "source")
        name = _text(data.get("source_id"), "source_id") or _name_in(fields)
        item = Item(name or "source", fields)
    return Subject(
        member_id or ("member" if member is not None else None),
        _fields(member, "member") if member is not None or member_id is not None else None,
        query_id or ("query" if query is not None else None),
        _fields(query, "query") if query is not None else None,
        item,
    )


def _candidate(entry: Any, i: int) -> Candidate:
    where = f"candidates[{i}]"
    _keys(entry, where, _CANDIDATE)
    item = _item(entry, where, f"item-{i + 1}")
    position, weight = entry.get("position"), entry.get("weight")
    if position is not None:
        position = _number(position, f"{where}.position")
    if weight is not None:
        weight = _finite(weight, f"{where}.weight")
    if weight is not None and weight < 0:
        raise DataError(f"{where}.weight: {weight:g} is less than 0")
    propensity = entry.get("propensity")
    if propensity is not None:
        propensity = _propensity(propensity, f"{where}.propensity")
    baseline = _fields(entry.get("baseline"), f"{where}.baseline")
    return Candidate(
        _text(entry.get("candidate_id"), f"{where}.candidate_id") or item.item_id,
        item,
        _fields(entry.get("context"), f"{where}.context"),
        _fields(entry.get("stats"), f"{where}.stats"),
        int(position) if position is not None else None,
        propensity,
        weight,
        _number(entry.get("logged_score"), f"{where}.logged_score"),
        _outcomes(entry, where),
        {name: _number(x, f"{where}.baseline.{name}") for name, x in baseline.items()},
        _text(entry.get("label_source"), f"{where}.label_source"),
    )


def _event(entry: Any, i: int, time: float | None) -> Event:
    where = f"history[{i}]"
    _keys(entry, where, _EVENT)
    when = _finite(entry.get("time"), f"{where}.time")
    if when is not None and time is not None and when >= time:
        raise DataError(f"{where}.time: {when:g} is not before the request's time {time:g}")
    return Event(
        _item(entry, where, f"event-{i + 1}"),
        _text(entry.get("action"), f"{where}.action"),
        when,
        _fields(entry.get("stats"), f"{where}.stats"),
        _fields(entry.get("context"), f"{where}.context"),
        _outcomes(entry, where),
    )


def _outcomes(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    given = entry.get("outcomes")
    if given is None:
        return {}
    given = _fields(given, f"{where}.outcomes")
    outcomes = {name: _text(answer, f"{where}.outcomes.{name}") for name, answer in given.items()}
    return {name: answer for name, answer in outcomes.items() if answer is not None}


def _sorted(history: tuple[Event, ...]) -> tuple[Event, ...]:
    """Oldest first where every event has a time; else as they were given."""
    if any(event.time is None for event in history):
        return history
    return tuple(sorted(history, key=lambda event: event.time or 0.0))


def _item(entry: Mapping[str, Any], where: str, made_up: str) -> Item:
    if entry.get("item") is None:
        raise DataError(f"{where}.item: missing; give the item's fields as a dict")
    fields = _fields(entry["item"], f"{where}.item")
    name = _text(entry.get("item_id"), f"{where}.item_id") or _name_in(fields)
    return Item(name or made_up, fields)


def _name_in(fields: Mapping[str, Any]) -> str | None:
    """The item's own field of that name, where it may be an id."""
    name = fields.get("item_id")
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) else None


def _keys(value: Any, where: str, known: tuple[str, ...]) -> None:
    if type(value) is dict and _SETS[known].issuperset(value):  # most often, and quickly told
        return
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: expected a dict, got {type(value).__name__}")
    for key in value:
        if key not in known:
            raise DataError(f"{where}: no key {key!r}; {near(str(key), known)}")


def _fields(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return EMPTY
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: expected a dict, got {type(value).__name__}")
    # A live request has hundreds of plain values, and nobody reads the places of those.
    return {
        k: v if type(v) in _PLAIN or (type(v) is float and v == v) else _value(v, f"{where}.{k}")
        for k, v in value.items()
    }


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


def _text(value: Any, where: str) -> str | None:
    if value is None or type(value) is str:
        return value
    value = _unpacked(value, where)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: expected text, got {type(value).__name__}")


def _number(value: Any, where: str) -> float | None:
    """A number; NaN and infinity count as missing."""
    if value is None:
        return None
    value = _unpacked(value, where)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise DataError(f"{where}: expected a number, got {type(value).__name__}")
    return finite(value)


def _propensity(value: Any, where: str) -> float | None:
    chance = _finite(value, where)
    if chance is not None and not 0 < chance <= 1:
        raise DataError(f"{where}: {not_a_propensity(chance)}")
    return chance


def _finite(value: Any, where: str) -> float | None:
    """A number where infinity would be a mistake; NaN is None."""
    number = _number(value, where)
    if number is None and value is not None and value == value:
        raise DataError(f"{where}: {value} is not finite")
    return number
