"""Requests filled in with what was looked up: what a request carries itself goes before it.

Fields of a member, a query, a source, an item, and statistics are taken one by one: those that the
request carries stay as they are, the others come from the tables. A history that it carries, an
empty one too, stands in the place of the stored one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptrank.errors import DataError, ErrorRow
from promptrank.records import EMPTY, Fields, Item, Request, Subject
from promptrank.requests.asked import ROLES, AskedIds, AskedItem, Found, FoundItem
from promptrank.requests.cells import count
from promptrank.requests.dicts import request_from_dict
from promptrank.requests.plain_values import fields_at


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A request that was filled in, and what came from where.

    Attributes:
        request: ready to be ranked; it may have no candidate left.
        errors: candidates and events whose items no table has; they are not in the request.
        time: as of when it was looked up; None where the data knows no time.
        events: of the history that came from the tables.
        items: candidates whose item came from the tables.
        unknown: ids of the subject that the tables do not hold.
        unknown_items: ids of candidates that no table has; the request carries their fields.
        stats: statistics of candidates that came from the tables.
        asked: whether there was any id to look up; else the request is as it came.
    """

    request: Request
    errors: tuple[ErrorRow, ...] = ()
    time: float | None = None
    events: int = 0
    items: int = 0
    unknown: tuple[str, ...] = ()
    unknown_items: tuple[str, ...] = ()
    stats: tuple[str, ...] = ()
    asked: bool = True


class WrongRequest(DataError):
    """One of several requests cannot be.

    Attributes:
        place: which.
    """

    def __init__(self, place: int, why: str) -> None:
        self.place = place
        super().__init__(why)


_MISSING = object()
"""The key of an item that is nowhere."""


def filled(data: Mapping[str, Any], asked: AskedIds, found: Found) -> LookedUp:
    """The request of a dict, with what was found.

    A candidate whose item neither the request nor a table has is an error row, and so is an event;
    the rest of the request goes on. A member that no table knows is a new one: its fields are None,
    and its history is empty.

    Raises:
        DataError: a dict that is no request; a query or a source that neither it nor a table has.
    """
    for role in ("query", "source"):
        if f"{role}_id" in found.unknown and role not in asked.subjects:
            raise DataError(
                f"{role}_id: {getattr(asked, f'{role}_id')!r} is not in the task's tables"
                f"{_then(found)}; give the {role} itself"
            )
    whole = dict(data)
    if found.time is not None:
        whole["time"] = found.time
    for role, fields in _fields_of(found.subject).items():
        if _is_named(asked, role):
            whole[role] = {**fields, **asked.subjects.get(role, EMPTY)}
    if isinstance(data.get("query"), str):  # plain text names itself, and no row of a table
        whole["query_id"] = asked.query_id or data["query"]
    if asked.source_id is not None:
        whole["source_id"] = asked.source_id
    whole["candidates"] = _entries(
        data.get("candidates"), "candidates", asked.candidates, found.candidates
    )
    if asked.events is not None:
        whole["history"] = _entries(data["history"], "history", asked.events, found.events)
    looked_up = _without_missing(request_from_dict(whole), asked, found)
    return replace(looked_up, stats=_stats_of_tables(data["candidates"], found.candidates))


def _stats_of_tables(
    entries: Sequence[Mapping[str, Any]], found: Mapping[int, FoundItem]
) -> tuple[str, ...]:
    """The statistics that some candidate did not carry itself."""
    names: set[str] = set()
    for i, each in found.items():
        names |= each.stats.keys() - (entries[i].get("stats") or EMPTY).keys()
    return tuple(sorted(names))


def _is_named(asked: AskedIds, role: str) -> bool:
    return role in asked.subjects or getattr(asked, f"{role}_id") is not None


def _fields_of(subject: Subject) -> dict[str, Fields]:
    source = subject.source.fields if subject.source is not None else None
    every = {"member": subject.member, "query": subject.query, "source": source}
    return {role: fields for role, fields in every.items() if fields is not None}


def _entries(
    entries: Any, name: str, asked: Mapping[int, AskedItem], found: Mapping[int, FoundItem]
) -> Any:
    if not isinstance(entries, Sequence):
        return entries
    return [
        _entry(entry, f"{name}[{i}]", asked[i], found[i]) if i in asked else entry
        for i, entry in enumerate(entries)
    ]


def _entry(
    entry: Mapping[str, Any], where: str, asked: AskedItem, found: FoundItem
) -> dict[str, Any]:
    whole = {**entry, "item_id": asked.item_id}
    stored = found.item
    if asked.fields is not None:
        whole["item"] = {**(stored.fields if stored is not None else EMPTY), **asked.fields}
    else:
        whole["item"] = stored or Item(asked.item_id, EMPTY, _MISSING)
    numbers = {"stats": found.stats}
    if where.startswith("candidates"):  # events have no baselines
        numbers["baseline"] = found.baseline
    for name, values in numbers.items():
        if values:
            whole[name] = {**values, **fields_at(entry.get(name), f"{where}.{name}")}
    return whole


def _without_missing(request: Request, asked: AskedIds, found: Found) -> LookedUp:
    name = request.request_id
    errors = [
        _row(name, each.candidate_id, "item_not_found", each.item.item_id, found)
        for each in request.candidates
        if each.item.key is _MISSING
    ]
    meta: dict[str, Any] = dict(request.meta)
    if errors:
        meta |= {"partial": True, "lost": count(meta.get("lost")) + len(errors)}
    history = found.history
    if asked.events is not None:
        history = tuple(event for event in request.history if event.item.key is not _MISSING)
        lost = [
            _row(name, None, "event_item_not_found", event.item.item_id, found)
            for event in request.history
            if event.item.key is _MISSING
        ]
        if lost:
            meta["events_lost"] = count(meta.get("events_lost")) + len(lost)
            errors += lost
    # A role that the request does not name is as `build` has it where an id is null.
    roles = [role for role in ROLES if not _is_named(asked, role)]
    return LookedUp(
        replace(
            request,
            subject=replace(request.subject, **{r: getattr(found.subject, r) for r in roles}),
            candidates=tuple(c for c in request.candidates if c.item.key is not _MISSING),
            history=history,
            meta=meta,
        ),
        tuple(errors),
        found.time,
        len(found.history),
        sum(each.item is not None for each in found.candidates.values()),
        found.unknown,
        tuple(
            each.item_id
            for i, each in asked.candidates.items()
            if each.fields is not None and found.candidates[i].item is None
        ),
    )


def _row(name: str, candidate: str | None, reason: str, item_id: str, found: Found) -> ErrorRow:
    message = f"item {item_id} is not in the task's item table{_then(found)}"
    return ErrorRow(name, candidate, "data", reason, message)


def _then(found: Found) -> str:
    return " at that time" if found.time is not None else ""
