"""What a request that comes as a dict names by ids, to be looked up in its task's tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptrank.errors import DataError
from promptrank.records import EMPTY, Event, Fields, Item, Subject
from promptrank.requests.dicts import name_in
from promptrank.requests.plain_values import fields_at, text_at, time_at

ROLES = ("member", "query", "source")


@dataclass(frozen=True, slots=True)
class AskedItem:
    """An item that stands in a request by its id.

    Attributes:
        time: of the event that it stands in; None for that of the request.
        fields: that the request carries of it; None where it carries none.
    """

    item_id: str
    time: float | None = None
    fields: Fields | None = None


@dataclass(frozen=True, slots=True)
class AskedIds:
    """The ids of one request, and what it carries beside them.

    Attributes:
        time: of the request; None for now.
        split: whose view of a split by field it has.
        subjects: role (``member``, ``query``, ``source``) -> the fields that it carries.
        candidates: place in its list -> item; candidates without an id are not there.
        events: the same for the history that it carries; None where it carries none.
    """

    member_id: str | None = None
    query_id: str | None = None
    source_id: str | None = None
    time: float | None = None
    split: str | None = None
    subjects: Mapping[str, Fields] = field(default_factory=dict)
    candidates: Mapping[int, AskedItem] = field(default_factory=dict)
    events: Mapping[int, AskedItem] | None = None

    @property
    def names_nothing(self) -> bool:
        """Whether there is no id at all."""
        subjects = (self.member_id, self.query_id, self.source_id)
        return not self.candidates and not self.events and not any(subjects)


@dataclass(frozen=True, slots=True)
class FoundItem:
    """What the tables hold of an item as of a moment.

    Attributes:
        item: None where the table did not have it at that time.
        stats, baseline: as in `promptrank.records.Candidate`.
    """

    item: Item | None
    stats: Fields
    baseline: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Found:
    """What the tables hold of a request's ids as of its time.

    Attributes:
        time: the time that it was looked up for; None where the task's data knows no time.
        subject: as the request's own fields were not there.
        history: the member's; () where the request carries its own.
        candidates, events: place in the request's list -> item.
        unknown: ids of the subject that the tables do not hold (``member_id``).
    """

    time: float | None
    subject: Subject
    history: tuple[Event, ...]
    candidates: Mapping[int, FoundItem]
    events: Mapping[int, FoundItem]
    unknown: tuple[str, ...]


def asked_of(data: Any) -> AskedIds:
    """The ids of a request as in `promptrank.requests.dicts.request_from_dict`.

    Raises:
        DataError: what is wrong with an id or a time, and where; what else may be wrong with the
            request is found when it is filled in.
    """
    if not isinstance(data, Mapping):
        raise DataError(f"request: expected a dict, got {type(data).__name__}")
    subjects: dict[str, Fields] = {}
    for role in ROLES:
        given = data.get(role)
        if role == "query" and isinstance(given, str):
            given = {"text": given}
        if given is not None:
            subjects[role] = fields_at(given, role)
    ids = {role: _id_at(data.get(f"{role}_id"), f"{role}_id") for role in ROLES}
    events = data.get("history")
    return AskedIds(
        ids["member"],
        ids["query"],
        ids["source"] or _id_at(name_in(subjects.get("source", EMPTY)), "source.item_id"),
        time_at(data.get("time"), "time"),
        _id_at(data.get("split"), "split"),
        subjects,
        _items(data.get("candidates"), "candidates", timed=False),
        _items(events, "history", timed=True) if events is not None else None,
    )


def _id_at(value: Any, where: str) -> str | None:
    name = text_at(value, where)
    try:
        if name is not None:
            name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: {name!r} is no text in UTF-8") from None
    return name


def _items(entries: Any, name: str, *, timed: bool) -> dict[int, AskedItem]:
    asked: dict[int, AskedItem] = {}
    if not isinstance(entries, Sequence):
        return asked
    for i, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            continue
        where, fields = f"{name}[{i}]", None
        if entry.get("item") is not None:
            fields = fields_at(entry["item"], f"{where}.item")
        item_id = _id_at(entry.get("item_id") or name_in(fields or EMPTY), f"{where}.item_id")
        if item_id is not None:
            time = time_at(entry.get("time"), f"{where}.time") if timed else None
            asked[i] = AskedItem(item_id, time, fields)
    return asked
