"""Which columns a student's rows have: looked up once in training requests, kept as JSON beside it.

What becomes a column is said in `promptrank.students.features`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from promptrank.records import Request
from promptrank.students import field_values as f

MAX_VALUES = 50
"""A text with more distinct values than this in training is not a category."""


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """Which columns there are; learned from training requests, kept as JSON beside a student.

    Attributes:
        numbers: ``group.name`` -> the median in training, which stands in for a missing value; None
            where values were missing in training too, and then they stay missing.
        categories: ``group.name`` -> its values in training; others are taken as missing.
        texts: the item's texts.
        overlaps: (text of the subject, text of the item).
        alike: (field of the subject, field of the item of the same name, ``equal`` or ``apart``).
        history: whether requests have histories.
        skipped: what is not used, with the reason.
    """

    numbers: Mapping[str, float | None]
    categories: Mapping[str, tuple[str, ...]]
    texts: tuple[str, ...]
    overlaps: tuple[tuple[str, str], ...] = ()
    alike: tuple[tuple[str, str, str], ...] = ()
    history: bool = False
    skipped: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_plan(requests: Iterable[Request]) -> ColumnPlan:
    """Look at training requests once and decide what becomes a column."""
    seen = _Seen()
    for request in requests:
        seen.add(request)
    return seen.plan()


class _Seen:
    """What occurred, by ``group.name``."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[float]] = {}
        self.values: dict[str, Counter[str]] = {}
        self.texts: set[str] = set()
        self.rows = {"subject": 0, "candidate": 0}
        self.history = False
        self.no_ids: set[str] = set()

    def add(self, request: Request) -> None:
        self.rows["subject"] += 1
        self.rows["candidate"] += len(request.candidates)
        self.history = self.history or bool(request.history)
        for group, key, value, row_id in f.every_field(request):
            name = f"{group}.{key}"
            # An id is text in a record, whatever type its column has.
            if name not in self.no_ids and str(value) != row_id:
                self.no_ids.add(name)
            amount = f.number(value)
            if amount is not None:
                self.numbers.setdefault(name, []).append(amount)
            elif f.is_text(value):
                self.texts.add(name)
                counts = self.values.setdefault(name, Counter())
                if isinstance(value, str) and len(counts) <= MAX_VALUES:
                    counts[value] += 1

    def plan(self) -> ColumnPlan:
        skipped: dict[str, str] = {}
        numbers: dict[str, float | None] = {}
        for name, amounts in sorted(self.numbers.items()):
            whole = len(amounts) == self._rows_of(name)
            if name in self.texts:
                skipped[name] = "numbers and texts mixed"
            elif name not in self.no_ids:
                skipped[name] = "it is the id"
            elif whole and min(amounts) == max(amounts):
                skipped[name] = "it never changes"
            else:
                numbers[name] = float(np.median(amounts)) if whole else None
        skipped |= {n: "it is the id" for n in sorted(self.texts) if n not in self.no_ids}
        categories = {}
        for name, counts in sorted(self.values.items()):
            if len(counts) == 1 and sum(counts.values()) == self._rows_of(name):
                skipped[name] = "it never changes"
            elif 1 <= len(counts) <= MAX_VALUES and name not in {*self.numbers, *skipped}:
                categories[name] = tuple(sorted(counts))
        texts = sorted(n for n in self.texts if n not in skipped)
        items = tuple(n for n in texts if n.startswith("item."))
        subjects = [n for n in texts if n.split(".")[0] in f.SUBJECT]
        overlaps = tuple((a, b) for a in subjects for b in items)
        return ColumnPlan(
            numbers, categories, items, overlaps, tuple(self._alike()), self.history, skipped
        )

    def _alike(self) -> Iterable[tuple[str, str, str]]:
        for group in f.SUBJECT:
            for name in sorted({*self.numbers, *self.values}):
                if not name.startswith(f"{group}."):
                    continue
                other = f"item.{name.partition('.')[2]}"
                if name in self.numbers and other in self.numbers and {name, other} <= self.no_ids:
                    yield name, other, "apart"
                elif name in self.values and other in self.values and name in self.no_ids:
                    yield name, other, "equal"

    def _rows_of(self, name: str) -> int:
        return self.rows["subject" if name.split(".")[0] in f.SUBJECT else "candidate"]
