"""What the ``sequence`` kind sees of requests: hashed words, rows of ids, columns of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from promptrank.basics.arrays import Codes, Floats, Singles
from promptrank.records import Item, Request
from promptrank.students import field_values as f
from promptrank.students.features import Features

BUCKETS = 8192
_WORDS = 32  # of one item or subject


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network.

    Attributes:
        buckets: rows of the table of hashed words.
        ids: items with an embedding of their own; row 0 is for all others and stays zero.
        dense: numbers per candidate.
        outputs: one per question.
        last: longest history.
    """

    buckets: int
    ids: int
    dense: int
    outputs: int
    dim: int
    layers: int
    heads: int
    last: int


@dataclass(frozen=True, slots=True)
class SequenceBatch:
    """Requests side by side.

    Attributes:
        subject_words: (requests, words) buckets; 0 is padding.
        event_words, event_ids: (requests, events, words) and (requests, events); latest event last.
        event_worth: (requests, events) from 0 to 1.
        events: (requests,) how many are no padding; they stand at the front.
        words, ids, dense: (rows, words), (rows,), (rows, numbers) of the candidates.
        request: (rows,) index of the candidate's request.
    """

    subject_words: Codes
    event_words: Codes
    event_ids: Codes
    event_worth: Singles
    events: Codes
    words: Codes
    ids: Codes
    dense: Singles
    request: Codes


class Inputs:
    """Requests to numbers: everything about them that is learned before the weights.

    Attributes:
        centre, spread: (columns,) of the features, as training had them.
        ids: item id -> row of its embedding.
    """

    def __init__(
        self, features: Features, centre: Floats, spread: Floats, ids: Mapping[str, int], last: int
    ) -> None:
        self.features, self.centre, self.spread = features, centre, spread
        self.ids, self.last = ids, last
        self._items: dict[Any, tuple[list[int], int]] = {}
        # Tokens of categories: (group, field, its values in training).
        self._categories = [
            (group, field, frozenset(values))
            for name, values in features.plan.categories.items()
            for group, _, field in [name.partition(".")]
        ]

    def batch(self, requests: Sequence[Request]) -> SequenceBatch:
        """Requests side by side."""
        past = [r.history[-self.last :] if self.last else () for r in requests]
        events = [[self._cached(e.item) for e in history] for history in past]
        length = max(map(len, events), default=0)
        width = max((len(w) for history in events for w, _ in history), default=0) or 1
        words = np.zeros((len(requests), length, width), dtype=np.int64)
        ids = np.zeros((len(requests), length), dtype=np.int64)
        worth = np.zeros((len(requests), length), dtype=np.float32)
        for i, history in enumerate(events):
            for j, (buckets, row) in enumerate(history):
                words[i, j, : len(buckets)], ids[i, j] = buckets, row
                worth[i, j] = self.features.worth_of(past[i][j])
        rows = [self._cached(c.item) for r in requests for c in r.candidates]
        return SequenceBatch(
            _padded([self.subject(r) for r in requests]),
            words,
            ids,
            worth,
            np.array([len(history) for history in events]),
            _padded([w for w, _ in rows]),
            np.array([row for _, row in rows]),
            np.concatenate([self.dense(r) for r in requests]),
            np.repeat(np.arange(len(requests)), [len(r.candidates) for r in requests]),
        )

    def dense(self, request: Request) -> Singles:
        """(candidates, numbers) standardised columns; 0 where a value is missing."""
        rows = (self.features.rows(request) - self.centre) / self.spread
        return np.clip(np.nan_to_num(rows), -5, 5).astype(np.float32)

    def item(self, item: Item) -> tuple[list[int], int]:
        """Buckets of its words, and the row of its id (0: training did not see it twice)."""
        words = {w for value in item.fields.values() for w in f.words(value)}
        tokens = {
            f"{field}={item.fields[field]}"
            for group, field, values in self._categories
            if group == "item" and _is_known(item.fields.get(field), values)
        }
        return _buckets(tokens, words), self.ids.get(item.item_id, 0)

    def _cached(self, item: Item) -> tuple[list[int], int]:
        """What `item` gives, kept because every epoch asks for it again."""
        if item.key is None:
            return self.item(item)
        if item.key not in self._items:
            self._items[item.key] = self.item(item)
        return self._items[item.key]

    def subject(self, request: Request) -> list[int]:
        """Buckets of the words of member, query or source."""
        given = f.subject_fields(request)
        tokens = {
            f"{group}.{field}={given[group][field]}"
            for group, field, values in self._categories
            if group in given and _is_known(given[group].get(field), values)
        }
        parts = [given.get(group, {}) for group in ("query", "source", "member")]
        return _buckets(
            tokens, *({w for value in part.values() for w in f.words(value)} for part in parts)
        )


def _is_known(value: Any, values: frozenset[str]) -> bool:
    return isinstance(value, str) and value in values


def _buckets(*groups: set[str]) -> list[int]:
    """Distinct buckets, group by group; within a group by hash, so that a cut favours no word."""
    hashes = (h for words in groups for h in sorted(crc32(w.encode()) for w in words))
    return list(dict.fromkeys(1 + h % (BUCKETS - 1) for h in hashes))[:_WORDS]


def _padded(rows: Sequence[Sequence[int]]) -> Codes:
    table = np.zeros((len(rows), max(map(len, rows), default=0) or 1), dtype=np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table
