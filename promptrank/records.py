"""The records that travel: a request, its subject, its history and its candidates.

A request is the unit of work: one subject at one moment, its history, and all its candidates.
Times are unix seconds (or plain order numbers where the data has no clock), ids are strings.
All records are frozen, and nobody writes to the mappings inside them.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

Fields = Mapping[str, Any]
EMPTY: Fields = {}


@dataclass(frozen=True, slots=True)
class Item:
    """A row of an items table.

    Attributes:
        item_id: its id in the items table.
        fields: its columns, as a template sees them under ``item``.
        key: items with equal keys have equal fields (the key is snapshot and row number). Without
            a key (None) the fields themselves are compared.
    """

    item_id: str
    fields: Fields
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something the member did before the request's time.

    Attributes:
        item: the item as it was at ``time``.
        action: the label of what happened (``like``, ``apply``).
        time: when; always less than the request's time.
        stats: item statistics as of this event (never containing it).
        context: fields of the event itself (a distance, a device).
        outcomes: question -> answer label, where the event answers a question of the task.
    """

    item: Item
    action: str | None = None
    time: float | None = None
    stats: Fields = field(default_factory=dict)
    context: Fields = field(default_factory=dict)
    outcomes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One item to be scored for a request.

    Attributes:
        candidate_id: unique within the request.
        item: the item as it was at the request's time.
        context: fields of this pairing (``distance_km``), seen by templates under ``context``.
        stats: item statistics as of the request's time, under ``stats``.
        position: where a logged list showed it (1 = top).
        propensity: the logged probability of showing it there.
        weight: its weight in training and metrics (1 where None).
        logged_score: the score of the ranker that is served today.
        outcomes: question -> answer label; a question without an entry is unlabelled.
        baseline: as-of numbers for cheap baselines: ``item_count``, ``item_mean``,
            ``member_mean``, ``mean`` (means of the first question's label value).
        label_source: where the label comes from (``ratings``, ``outcomes``, ``no outcome``,
            ``sampled``, ``correction``), where the data has several sources; never shown to a
            model.
    """

    candidate_id: str
    item: Item
    context: Fields = field(default_factory=dict)
    stats: Fields = field(default_factory=dict)
    position: int | None = None
    propensity: float | None = None
    weight: float | None = None
    logged_score: float | None = None
    outcomes: Mapping[str, str] = field(default_factory=dict)
    baseline: Mapping[str, float | None] = field(default_factory=dict)
    label_source: str | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom or what the candidates are ranked for: a member, a query, a source item, or several.

    Attributes:
        member_id: id of the member, or None.
        member: the member's fields and member statistics (template: ``member``), or None.
        query_id: id of the query, or None.
        query: the query's fields, its words under ``text`` (template: ``query``), or None.
        source: the source item (template: ``source``), or None.
    """

    member_id: str | None = None
    member: Fields | None = None
    query_id: str | None = None
    query: Fields | None = None
    source: Item | None = None

    @property
    def subject_id(self) -> str:
        """What the bootstrap draws and GAUC groups by: member, else query, else source item."""
        if self.member_id is not None:
            return self.member_id
        if self.query_id is not None:
            return self.query_id
        return self.source.item_id if self.source is not None else ""


@dataclass(frozen=True, slots=True)
class Request:
    """One subject at one moment with all its candidates.

    Attributes:
        request_id: unique within a data set.
        time: when the ranking was (or would be) made; None where the data knows no time.
        history: oldest first; every event's time is less than ``time``.
        split: ``train``, ``valid``, ``test``, or None where no split is declared.
        meta: facts about how it was made (sampler and count of negatives, for one).
    """

    request_id: str
    subject: Subject
    candidates: tuple[Candidate, ...]
    history: tuple[Event, ...] = ()
    time: float | None = None
    split: str | None = None
    meta: Fields = field(default_factory=dict)
