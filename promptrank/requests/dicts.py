"""Requests as plain nested dicts, for the Python API: friendly about what is left out."""

from collections.abc import Mapping
from typing import Any

from promptrank.errors import DataError
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.requests.lost import REQUEST_COLUMNS
from promptrank.requests.plain_values import (
    check_keys,
    fields_at,
    finite_at,
    number_at,
    propensity_at,
    text_at,
    time_at,
)

UNNAMED = "request"
"""The id of a request that brings none."""
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
_LOOK_UP = (
    "; its id alone is enough where the task's tables are read: `promptrank serve --tables`, or "
    "`promptrank.open_look_up` in Python"
)
_EVENT = ("item_id", "item", "action", "time", "context", "stats", "outcomes")


def request_from_dict(data: Mapping[str, Any]) -> Request:
    """A request from ``{"query": ..., "candidates": [{"item": {...}}, ...]}``.

    Subject: ``member`` and ``source`` are dicts of fields, ``query`` is text or a dict of fields;
    there may be none of them. Ids may be left out: an item without ``item_id`` is named after its
    place (``item-3``). An entry of ``candidates`` or ``history`` names its fields under ``item``,
    or has an `Item` there.
    Values from numpy become plain ones; NaN becomes None.

    Raises:
        DataError: what is wrong, and where (``candidates[3].item: expected a dict, got str``).
    """
    check_keys(data, "request", _REQUEST)
    time = time_at(data.get("time"), "time")
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
        text_at(data.get("request_id"), "request_id") or UNNAMED,
        _subject(data),
        tuple(candidates.values()),
        _sorted(history),
        time,
        text_at(data.get("split"), "split"),
        fields_at(data.get("meta"), "meta"),
    )


def _subject(data: Mapping[str, Any]) -> Subject:
    member_id = text_at(data.get("member_id"), "member_id")
    query_id = text_at(data.get("query_id"), "query_id")
    member, query, source = data.get("member"), data.get("query"), data.get("source")
    if isinstance(query, str):
        query_id, query = query_id or str(query), {"text": query}
    item = None
    if source is not None:
        fields = fields_at(source, "source")
        name = text_at(data.get("source_id"), "source_id") or name_in(fields)
        item = Item(name or "source", fields)
    return Subject(
        member_id or ("member" if member is not None else None),
        fields_at(member, "member") if member is not None or member_id is not None else None,
        query_id or ("query" if query is not None else None),
        fields_at(query, "query") if query is not None else None,
        item,
    )


def _candidate(entry: Any, i: int) -> Candidate:
    where = f"candidates[{i}]"
    check_keys(entry, where, _CANDIDATE)
    item = _item(entry, where, f"item-{i + 1}")
    position, weight = entry.get("position"), entry.get("weight")
    if position is not None:
        position = number_at(position, f"{where}.position")
    if weight is not None:
        weight = finite_at(weight, f"{where}.weight")
    if weight is not None and weight < 0:
        raise DataError(f"{where}.weight: {weight:g} is less than 0")
    propensity = entry.get("propensity")
    if propensity is not None:
        propensity = propensity_at(propensity, f"{where}.propensity")
    baseline = entry.get("baseline")
    if baseline is not None:
        baseline = fields_at(baseline, f"{where}.baseline")
        baseline = {name: number_at(x, f"{where}.baseline.{name}") for name, x in baseline.items()}
    return Candidate(
        text_at(entry.get("candidate_id"), f"{where}.candidate_id") or item.item_id,
        item,
        fields_at(entry.get("context"), f"{where}.context"),
        fields_at(entry.get("stats"), f"{where}.stats"),
        int(position) if position is not None else None,
        propensity,
        weight,
        number_at(entry.get("logged_score"), f"{where}.logged_score"),
        _outcomes(entry, where),
        baseline or {},
        text_at(entry.get("label_source"), f"{where}.label_source"),
    )


def _event(entry: Any, i: int, time: float | None) -> Event:
    where = f"history[{i}]"
    check_keys(entry, where, _EVENT)
    when = time_at(entry.get("time"), f"{where}.time")
    if when is not None and time is not None and when >= time:
        raise DataError(f"{where}.time: {when:g} is not before the request's time {time:g}")
    return Event(
        _item(entry, where, f"event-{i + 1}"),
        text_at(entry.get("action"), f"{where}.action"),
        when,
        fields_at(entry.get("stats"), f"{where}.stats"),
        fields_at(entry.get("context"), f"{where}.context"),
        _outcomes(entry, where),
    )


def _outcomes(entry: Mapping[str, Any], where: str) -> dict[str, str]:
    given = entry.get("outcomes")
    if given is None:
        return {}
    given = fields_at(given, f"{where}.outcomes")
    outcomes = {name: text_at(answer, f"{where}.outcomes.{name}") for name, answer in given.items()}
    return {name: answer for name, answer in outcomes.items() if answer is not None}


def _sorted(history: tuple[Event, ...]) -> tuple[Event, ...]:
    """Oldest first where every event has a time; else as they were given."""
    if any(event.time is None for event in history):
        return history
    return tuple(sorted(history, key=lambda event: event.time or 0.0))


def _item(entry: Mapping[str, Any], where: str, made_up: str) -> Item:
    given = entry.get("item")
    if isinstance(given, Item):
        return given
    if given is None:
        hint = "" if entry.get("item_id") is None else _LOOK_UP
        raise DataError(f"{where}.item: missing; give the item's fields as a dict{hint}")
    fields = fields_at(given, f"{where}.item")
    name = text_at(entry.get("item_id"), f"{where}.item_id") or name_in(fields)
    return Item(name or made_up, fields)


def name_in(fields: Mapping[str, Any]) -> str | None:
    """An item's own field of that name, where it may be an id."""
    name = fields.get("item_id")
    return str(name) if isinstance(name, str | int) and not isinstance(name, bool) else None
