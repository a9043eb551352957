"""Requests as plain nested dicts, for the Python API: friendly about what is left out."""

from collections.abc import Mapping
from typing import Any

from promptrank.data.names import near
from promptrank.errors import DataError
from promptrank.records import EMPTY, Candidate, Event, Item, Request, Subject

_REQUEST = (
    "request_id",
    "time",
    "split",
    "member_id",
    "member",
    "query_id",
    "query",
    "source_id",
    "source",
    "history",
    "candidates",
    "meta",
)
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
)
_EVENT = ("item_id", "item", "action", "time", "context", "stats", "outcomes")


def request_from_dict(data: Mapping[str, Any]) -> Request:
    """A request from ``{"query": ..., "candidates": [{"item": {...}}, ...]}``.

    Subject: ``member`` and ``source`` are dicts of fields, ``query`` is text or a dict of fields.
    Ids may be left out: an item without ``item_id`` is named after its place (``item-3``). An
    entry of ``candidates`` or ``history`` names its fields under ``item``.

    Raises:
        DataError: what is wrong, and where (``candidates[3].item: expected a dict, got str``).
    """
    _keys(data, "request", _REQUEST)
    time = _number(data.get("time"), "time")
    listed = data.get("candidates")
    if not isinstance(listed, list | tuple) or not listed:
        raise DataError("candidates: expected a list of at least one candidate")
    found: dict[str, Candidate] = {}
    for i, entry in enumerate(listed):
        candidate = _candidate(entry, i)
        if candidate.candidate_id in found:
            raise DataError(
                f"candidates[{i}]: {candidate.candidate_id!r} stands twice; give candidate_id"
            )
        found[candidate.candidate_id] = candidate
    events = data.get("history") or ()
    if not isinstance(events, list | tuple):
        raise DataError(f"history: expected a list, got {type(events).__name__}")
    history = tuple(_event(entry, i, time) for i, entry in enumerate(events))
    return Request(
        _text(data.get("request_id"), "request_id") or "request",
        _subject(data),
        tuple(found.values()),
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
        query_id, query = query_id or query, {"text": query}
    if member is None and query is None and source is None and member_id is None:
        raise DataError("request: say whom it is for: member, query or source")
    item = None
    if source is not None:
        name = _text(data.get("source_id"), "source_id")
        fields = _fields(source, "source")
        item = Item(name or str(fields.get("item_id", "source")), fields)
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
    position = _number(entry.get("position"), f"{where}.position")
    outcomes = _fields(entry.get("outcomes"), f"{where}.outcomes")
    return Candidate(
        _text(entry.get("candidate_id"), f"{where}.candidate_id") or item.item_id,
        item,
        _fields(entry.get("context"), f"{where}.context"),
        _fields(entry.get("stats"), f"{where}.stats"),
        int(position) if position is not None else None,
        _number(entry.get("propensity"), f"{where}.propensity"),
        _number(entry.get("weight"), f"{where}.weight"),
        _number(entry.get("logged_score"), f"{where}.logged_score"),
        {k: v for k, v in outcomes.items() if v is not None},
        _fields(entry.get("baseline"), f"{where}.baseline"),
    )


def _event(entry: Any, i: int, time: float | None) -> Event:
    where = f"history[{i}]"
    _keys(entry, where, _EVENT)
    when = _number(entry.get("time"), f"{where}.time")
    if when is not None and time is not None and when >= time:
        raise DataError(f"{where}.time: {when:g} is not before the request's time {time:g}")
    outcomes = _fields(entry.get("outcomes"), f"{where}.outcomes")
    return Event(
        _item(entry, where, f"event-{i + 1}"),
        _text(entry.get("action"), f"{where}.action"),
        when,
        _fields(entry.get("stats"), f"{where}.stats"),
        _fields(entry.get("context"), f"{where}.context"),
        {k: v for k, v in outcomes.items() if v is not None},
    )


def _sorted(history: tuple[Event, ...]) -> tuple[Event, ...]:
    """Oldest first where every event has a time; else as they were given."""
    if any(event.time is None for event in history):
        return history
    return tuple(sorted(history, key=lambda event: event.time or 0.0))


def _item(entry: Mapping[str, Any], where: str, made_up: str) -> Item:
    if entry.get("item") is None:
        raise DataError(f"{where}.item: missing; give the item's fields as a dict")
    fields = _fields(entry["item"], f"{where}.item")
    name = _text(entry.get("item_id"), f"{where}.item_id")
    inner = fields.get("item_id")
    if name is None and isinstance(inner, str | int) and not isinstance(inner, bool):
        name = str(inner)
    return Item(name or made_up, fields)


def _keys(value: Any, where: str, known: tuple[str, ...]) -> None:
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
    # NaN is how tables say None.
    return {k: None if v != v else v for k, v in value.items()}


def _text(value: Any, where: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: expected text, got {type(value).__name__}")


def _number(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if value == value else None
    raise DataError(f"{where}: expected a number, got {type(value).__name__}")
