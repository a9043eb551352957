"""How well each field of a candidate tells the label by itself, and all of them together.

A field alone is a model of its own, learned on training candidates: a number falls into up to 32
bins of equal mass (and one for missing), each with its rate of relevant candidates, drawn towards
the overall rate; dates count as numbers. Texts and lists of texts become a hashed bag of words and
whole values under a logistic regression. So neither needs a shape or a list of values, and that a
field is missing can tell too.

Fields together are a logistic regression over the single models' log-odds (an additive model).
The log-odds that it learns from were made by models that had not seen the row's subject.
"""

import math
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.field_looks import looks
from promptrank.evaluation.labelled import Label
from promptrank.records import Candidate, Request

_BINS, _PRIOR, _FOLDS = 32, 5.0, 3
_HASHED = 2**14
_MOST_ROWS = 100_000
_MOST_FIELDS = 1000


@dataclass(slots=True)
class FieldColumns:
    """Labelled candidates as columns; a field that has numbers and texts has a column of either.

    Attributes:
        numbers: field -> values; NaN where missing. One that comes late is short until `filled`.
        texts: field -> texts of each row.
        relevant, request, subject, item: of each row.
        unread: fields of which some value could not be looked at.
    """

    numbers: dict[str, list[float]] = field(default_factory=dict)
    texts: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    relevant: list[bool] = field(default_factory=list)
    request: list[str] = field(default_factory=list)
    subject: list[str] = field(default_factory=list)
    item: list[str] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.relevant)

    @property
    def names(self) -> list[str]:
        """Every field, sorted."""
        return sorted({*self.numbers, *self.texts})

    def add(self, request: Request, gain_of: Label, relevant_at: float) -> None:
        """Take in a request's labelled candidates, as long as there is room."""
        for candidate in request.candidates if len(self) < _MOST_ROWS else ():
            gain = gain_of(candidate)
            if gain is None:
                continue
            row = len(self)
            self.relevant.append(gain >= relevant_at)
            self.request.append(request.request_id)
            self.subject.append(request.subject.subject_id or request.request_id)
            self.item.append(candidate.item.item_id)
            for of, value in _fields(request, candidate):
                for name, content in looks(of, value):
                    if content is None or not self._put(name, content, row):
                        self.unread.add(of)

    def _put(self, name: str, content: float | tuple[str, ...], row: int) -> bool:
        """Whether there was room for it: objects may have a key of its own in every row."""
        columns: dict[str, Any] = self.numbers if isinstance(content, float) else self.texts
        if name not in columns and len(self.numbers) + len(self.texts) >= _MOST_FIELDS:
            return False
        column = columns.setdefault(name, [])
        column.extend([math.nan if columns is self.numbers else ()] * (row - len(column)))
        column.append(content)
        return True

    def number(self, name: str) -> Floats:
        """(rows,) of a field of numbers."""
        column = np.full(len(self), np.nan)
        given = self.numbers.get(name, [])
        column[: len(given)] = given
        return column

    def words(self, name: str) -> list[tuple[str, ...]]:
        """The texts of each row."""
        given = self.texts.get(name, [])
        return [*given, *[()] * (len(self) - len(given))]


def _fields(request: Request, candidate: Candidate) -> Iterator[tuple[str, Any]]:
    subject = request.subject
    groups: Mapping[str, Mapping[str, Any] | None] = {
        "member": subject.member,
        "query": subject.query,
        "source": subject.source.fields if subject.source is not None else None,
        "item": candidate.item.fields,
        "context": candidate.context,
        "stats": candidate.stats,
        "baseline": candidate.baseline,
    }
    for group, fields in groups.items():
        for key, value in (fields or {}).items():
            yield f"{group}.{key}", value


@dataclass(frozen=True, slots=True)
class SingleScores:
    """Log-odds of each field alone.

    Attributes:
        names: the fields, one a column; those that never change are left out.
        crossed: (training rows, fields) by models that had not seen the row's subject.
        held_out: (held-out rows, fields).
    """

    names: Sequence[str]
    crossed: Floats
    held_out: Floats

    def together(self, relevant: Flags, without: Collection[str] = ()) -> Floats:
        """(held-out rows,) log-odds by all fields but some; zeros where none is left.

        Args:
            relevant: of the training rows.
        """
        from sklearn.linear_model import LogisticRegression

        kept = [i for i, name in enumerate(self.names) if name not in without]
        if not kept:
            return np.zeros(len(self.held_out))
        mean, spread = self.crossed[:, kept].mean(axis=0), self.crossed[:, kept].std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        model = LogisticRegression(max_iter=1000)
        model.fit((self.crossed[:, kept] - mean) / spread, relevant)
        values: Floats = model.decision_function((self.held_out[:, kept] - mean) / spread)
        return values


def single_scores(train: FieldColumns, held_out: FieldColumns) -> SingleScores:
    """Learn each field alone on ``train``."""
    relevant = np.array(train.relevant, dtype=np.bool_)
    folds = np.array([zlib.crc32(s.encode("utf-8", "surrogatepass")) for s in train.subject])
    folds %= _FOLDS
    names, crossed, told = [], [], []
    looked = [(name, name, True) for name in train.numbers]
    # Beside a column of its numbers, a field's texts need a name of their own.
    mixed = {n: f"{n} (texts)" for n in train.texts if n in train.numbers}
    looked += [(mixed.get(name, name), name, False) for name in train.texts]
    for shown, name, numeric in sorted(looked):
        if numeric:
            own, other = train.number(name), held_out.number(name)
            made = _crossed(_binned, own, other, relevant, folds)
        else:
            made = _crossed(
                _worded, _hashed(train.words(name)), _hashed(held_out.words(name)), relevant, folds
            )
        if np.ptp(made[1]) > 0:  # it tells held-out rows apart
            names.append(shown)
            crossed.append(made[0])
            told.append(made[1])
    sides, rows = (crossed, told), (len(train), len(held_out))
    made_of = [
        np.column_stack(c) if c else np.zeros((n, 0)) for c, n in zip(sides, rows, strict=True)
    ]
    return SingleScores(names, *made_of)


def _crossed(
    learn: Any, own: Any, other: Any, relevant: Flags, folds: Codes
) -> tuple[Floats, Floats]:
    """Training rows by models of the other folds, and held-out rows by one of all."""
    crossed = np.zeros(len(relevant))
    for fold in range(_FOLDS):
        inside = folds == fold
        if inside.any() and not inside.all():
            crossed[inside] = learn(own[~inside], relevant[~inside], own[inside])
    return crossed, learn(own, relevant, other)


def _binned(own: Floats, relevant: Flags, other: Floats) -> Floats:
    """Log-odds by the rate of relevant rows in a number's bin."""
    known = own[~np.isnan(own)]
    edges = np.unique(known)
    if len(edges) > _BINS:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:]))

    def places(values: Floats) -> Codes:
        codes = np.searchsorted(edges, values)
        return np.where(np.isnan(values), len(edges) + 1, codes)

    size = len(edges) + 2
    count = np.bincount(places(own), minlength=size)
    hits = np.bincount(places(own), weights=relevant, minlength=size)
    overall = np.clip(relevant.mean() if len(relevant) else 0.5, 1e-6, 1 - 1e-6)
    rate = (hits + _PRIOR * overall) / (count + _PRIOR)
    odds: Floats = np.log(rate / (1 - rate))[places(other)]
    return odds


def _hashed(rows: Iterable[tuple[str, ...]]) -> Any:
    """(rows, hashed tokens): the words of each row's texts, and each text as a whole."""
    from sklearn.feature_extraction.text import HashingVectorizer

    def tokens(texts: tuple[str, ...]) -> list[str]:
        words = [word for text in texts for word in text.casefold().split()]
        return [*words, *(f"={text}" for text in texts)]

    hashing = HashingVectorizer(
        n_features=_HASHED, analyzer=tokens, norm=None, binary=True, alternate_sign=False
    )
    return hashing.transform(rows)


def _worded(own: Any, relevant: Flags, other: Any) -> Floats:
    """Log-odds by a logistic regression on hashed tokens."""
    from sklearn.linear_model import LogisticRegression

    if relevant.all() or not relevant.any():
        return np.zeros(other.shape[0])
    model = LogisticRegression(solver="liblinear", max_iter=200, random_state=0)
    model.fit(own, relevant)
    odds: Floats = model.decision_function(other)
    return odds
