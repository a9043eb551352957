"""Requests to rows of numbers: what a student without a language model sees of them.

Of each candidate, as columns:

* declared fields: numbers as they are (as-of statistics, percentiles and baseline means among
  them), texts with few distinct values as categories;
* text statistics: words and characters of each text of the item;
* overlaps between the subject's texts (query, source, member) and the item's: the share of the
  subject's words that the item has, and Jaccard's index; and for fields of one name, whether they
  are equal or how far apart;
* the history: events, their mean worth, time since the last, how often the item itself occurs, and
  per text of the item how much its words were liked (the worth above the mean of past events with
  that word, shrunk by one event) and which share of them occurs at all.

Ids are not used, so that a new item is as good as an old one; nor are position and propensity,
which say what the served ranker did. A request's values are as-of the request, so rows are too.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.records import Candidate, Event, Item, Request
from promptrank.schema.parts import Question
from promptrank.schema.task import Task
from promptrank.students import field_values as f
from promptrank.students.column_plan import ColumnPlan
from promptrank.students.history_columns import HistoryColumns

_NAN = float("nan")
CACHED = 200_000
"""So many items are held, of those that a student has read."""


@dataclass(frozen=True, slots=True)
class _ItemPart:
    """What an item always gives: its columns, its words per text, and fall-backs it needed."""

    values: list[float]
    words: tuple[f.Words, ...]
    fallbacks: tuple[str, ...]


class Features:
    """Rows of a plan for the requests of one task.

    Attributes:
        fallbacks: what a serving row lacked, counted by a sentence that says what stood in.
    """

    def __init__(self, plan: ColumnPlan, task: Task) -> None:
        self.plan = plan
        self.fallbacks: Counter[str] = Counter()
        self._question: Question = next(iter(task.questions.values()))
        values = {name: a.value for name, a in self._question.answers.items()}
        low, high = min(values.values()), max(values.values())
        self._worth = {name: (v - low) / (high - low) for name, v in values.items()}
        self._codes = {
            n: {v: float(i) for i, v in enumerate(vs)} for n, vs in plan.categories.items()
        }
        self._subject = self._sources(f.SUBJECT)
        self._item = self._sources(("item",))
        self._own = self._sources(f.OWN)
        self._texts = [name.partition(".")[2] for name in plan.texts]
        self._items: dict[Any, _ItemPart] = {}

    def _sources(self, groups: tuple[str, ...]) -> list[tuple[int, str, str]]:
        """(index of the group, field, full name) of declared columns, numbers first."""
        return [
            (groups.index(group), key, name)
            for name in (*self.plan.numbers, *self.plan.categories)
            for group, _, key in [name.partition(".")]
            if group in groups
        ]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        plan = self.plan
        names = [name for part in (self._subject, self._item) for _, _, name in part]
        names += [f"{what}({name})" for name in plan.texts for what in ("words", "characters")]
        names += [name for _, _, name in self._own]
        names += [f"{what}({a},{b})" for a, b in plan.overlaps for what in ("share", "jaccard")]
        names += [f"{kind}({a},{b})" for a, b, kind in plan.alike]
        if plan.history:
            names += ["events", "mean_worth", "since_last_event", "item_seen", "item_worth"]
            names += [f"{w}({n})" for n in plan.texts for w in ("liked_words", "known_words")]
        return tuple(names)

    @cached_property
    def categorical(self) -> list[int]:
        """Columns that hold codes of categories."""
        return [i for i, name in enumerate(self.names) if name in self.plan.categories]

    def worth_of(self, event: Event) -> float:
        """What an event says for its item, from 0 to 1."""
        return f.event_worth(event, self._question, self._worth)

    def rows(self, request: Request) -> Floats:
        """(candidates, columns) of one request; NaN where a value is missing."""
        subject = f.subject_fields(request)
        groups = [subject.get(name, {}) for name in f.SUBJECT]
        lacking: list[str] = []
        shared = [self._declared(groups[i], key, name, lacking) for i, key, name in self._subject]
        if lacking:
            self.fallbacks.update(lacking)
        ours = [self._value(subject, a) for a, _ in self.plan.overlaps]
        overlap_words = [f.words(value) for value in ours]
        alike = [self._value(subject, a) for a, _, _ in self.plan.alike]
        past = (
            HistoryColumns(request, self._question, self._worth, self._words_of)
            if self.plan.history
            else None
        )
        places = [self.plan.texts.index(b) for _, b in self.plan.overlaps]
        rows = [
            shared + self._candidate(candidate, overlap_words, places, alike, past)
            for candidate in request.candidates
        ]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.names))

    def _candidate(
        self,
        candidate: Candidate,
        ours: list[f.Words],
        places: list[int],
        alike: list[Any],
        past: "HistoryColumns | None",
    ) -> list[float]:
        part = self._part(candidate.item)
        if part.fallbacks:
            self.fallbacks.update(part.fallbacks)
        row = part.values.copy()
        own = f.own_fields(candidate)
        lacking: list[str] = []
        for group, key, name in self._own:
            row.append(self._declared(own[group], key, name, lacking))
        if lacking:
            self.fallbacks.update(lacking)
        for mine, place in zip(ours, places, strict=True):
            theirs = part.words[place]
            both = len(mine & theirs)
            either = len(mine) + len(theirs) - both
            row.append(both / len(mine) if mine else _NAN)
            row.append(both / either if either else _NAN)
        for value, (_, name, kind) in zip(alike, self.plan.alike, strict=True):
            row.append(_compare(value, candidate.item.fields.get(name[5:]), kind))
        if past is not None:
            row += past.columns(candidate.item.item_id, part.words)
        return row

    def _declared(self, given: Mapping[str, Any], key: str, name: str, lacking: list[str]) -> float:
        value = given.get(key)
        codes = self._codes.get(name)
        if codes is not None:
            if value is None:
                return _NAN
            code = codes.get(value) if isinstance(value, str) else None
            if code is None:
                lacking.append(f"{name}: a value not seen in training, taken as missing")
                return _NAN
            return code
        amount = f.number(value)
        if amount is not None:
            return amount
        median = self.plan.numbers[name]
        if median is None:
            return _NAN
        lacking.append(f"{name}: missing, as it never was in training; the median stands in")
        return median

    def _words_of(self, item: Item) -> tuple[f.Words, ...]:
        return self._part(item).words

    def _part(self, item: Item) -> _ItemPart:
        part = self._items.get(item.key) if item.key is not None else None
        if part is not None:
            return part
        lacking: list[str] = []
        values = [self._declared(item.fields, key, name, lacking) for _, key, name in self._item]
        texts = [item.fields.get(key) for key in self._texts]
        words = tuple(f.words(value) for value in texts)
        for value, word_set in zip(texts, words, strict=True):
            values += [float(len(word_set)), f.length(value)]
        part = _ItemPart(values, words, tuple(lacking))
        if item.key is not None:
            if len(self._items) >= CACHED:
                self._items.clear()
            self._items[item.key] = part
        return part

    @staticmethod
    def _value(subject: Mapping[str, Mapping[str, Any]], name: str) -> Any:
        group, _, key = name.partition(".")
        return subject.get(group, {}).get(key)


def _compare(mine: Any, theirs: Any, kind: str) -> float:
    if mine is None or theirs is None:
        return _NAN
    if kind == "equal":
        return float(mine == theirs)
    a, b = f.number(mine), f.number(theirs)
    return _NAN if a is None or b is None else a - b
