"""The logistic-regression baseline: scikit-learn on the fields that a template could show.

Fields of item, member, query, source, context and stats, and the as-of baseline numbers. A number
(or a boolean) becomes one standardised column; a text with few distinct values, or a list of such
texts, becomes one 0/1 column per value; other values (dates, nested tables) are not used. A
missing number is the column's mean plus an indicator. Position is not a feature: it says where the
served ranker put the item.
"""

from __future__ import annotations  # array[float] is a type only for the checker

import math
import warnings
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from promptrank.baselines.baseline import NO_FIELD, NO_LABELS, ONE_CLASS, Aim, Baseline, Sources
from promptrank.basics.arrays import Floats
from promptrank.basics.numbers import sigmoid
from promptrank.evaluation.field_features import (
    MAX_VALUES,
    Numbers,
    Texts,
    candidate_features,
    subject_features,
)
from promptrank.evaluation.labelled import Label
from promptrank.ranking.values import Values
from promptrank.records import Request


@dataclass(frozen=True, slots=True)
class Logistic:
    """A fitted model, as coefficients by name.

    Attributes:
        numeric: field -> (slope, offset): a value x adds slope * x + offset.
        missing: field -> what its absence adds.
        texts: (field, value) -> what it adds.
        rows: candidates it learned from.
        skipped: fields of training that it does not use, with the reason.
    """

    intercept: float
    numeric: Mapping[str, tuple[float, float]]
    missing: Mapping[str, float]
    texts: Mapping[tuple[str, str], float]
    rows: int
    skipped: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def rank(self, request: Request) -> Values:
        """Log-odds as scores, and P(relevant)."""
        shared_numbers, shared_texts = subject_features(request)
        # What the subject adds is the same for every candidate.
        base = self.intercept + sum(self.missing.values())
        base += self._add(shared_numbers, shared_texts)
        scores = [
            base + self._add(*candidate_features(candidate)) for candidate in request.candidates
        ]
        return Values(scores, [sigmoid(score) for score in scores])

    def facts(self) -> dict[str, Any]:
        """What it used, for the report."""
        return {
            "rows": self.rows,
            "numeric": sorted(self.numeric),
            "categorical": sorted({name for name, _ in self.texts}),
            "skipped": dict(sorted(self.skipped.items())),
            "notes": list(self.notes),
        }

    def _add(self, numbers: Numbers, texts: Texts) -> float:
        total = 0.0
        for name, value in numbers.items():
            if name in self.numeric:
                slope, offset = self.numeric[name]
                total += slope * value + offset - self.missing.get(name, 0.0)
        for text in texts:
            total += self.texts.get(text, 0.0)
        return total


class LogisticFit:
    """Learns from labelled candidates, weights honoured, shown one request after another.

    The rows are kept as flat columns, about 8 bytes a number, never as objects.
    """

    def __init__(self, aim: Aim) -> None:
        """Know of no label yet."""
        self._aim, self._columns = aim, _Columns()

    def add(self, request: Request) -> None:
        """Take in a training request's labelled candidates."""
        if request.split == "train":
            _collect(self._columns, request, self._aim.gain_of)

    def fit(self, sources: Sources) -> Baseline:
        """The model; or the reason where nothing can be learned."""
        model = self.model()
        if isinstance(model, str):
            return Baseline(None, model)
        return Baseline(model.rank, facts=model.facts())

    def model(self) -> Logistic | str:
        """The model; or the reason, as text, where nothing can be learned."""
        columns = self._columns
        for column in columns.numeric.values():
            _pad(column, len(columns.gain))
        if not len(columns.gain):
            return NO_LABELS
        target = np.array(columns.gain) >= self._aim.relevant_at
        weight = np.array(columns.weight)
        if not (weight[target].sum() > 0 and weight[~target].sum() > 0):
            return ONE_CLASS
        design = _design(columns)
        if not design.names:
            return NO_FIELD
        return _fit(columns, design, target, weight)


@dataclass(slots=True)
class _Columns:
    """Training rows as they come in; a number that is missing at the end of a column is NaN."""

    gain: array[float] = field(default_factory=lambda: array("d"))
    weight: array[float] = field(default_factory=lambda: array("d"))
    numeric: dict[str, array[float]] = field(default_factory=dict)
    values: dict[str, dict[str, array[int]]] = field(default_factory=dict)  # value -> rows with it
    skipped: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Design:
    """The matrix: one column per name; a name is (kind, field, value)."""

    names: list[tuple[str, str, str]]
    columns: list[Any]
    centres: dict[str, tuple[float, float]]  # numeric field -> mean, standard deviation


def _collect(columns: _Columns, request: Request, gain_of: Label) -> None:
    shared_numbers, shared_texts = subject_features(request)
    for candidate in request.candidates:
        gain = gain_of(candidate)
        if gain is None:
            continue
        row = len(columns.gain)
        columns.gain.append(gain)
        columns.weight.append(1.0 if candidate.weight is None else candidate.weight)
        own_numbers, own_texts = candidate_features(candidate)
        for name, number in (*shared_numbers.items(), *own_numbers.items()):
            column = columns.numeric.setdefault(name, array("d"))
            _pad(column, row)
            column.append(number)
        for name, text in (*shared_texts, *own_texts):
            _add_text(columns, name, text, row)


def _pad(column: array[float], rows: int) -> None:
    column.extend([math.nan] * (rows - len(column)))


def _add_text(columns: _Columns, name: str, text: str, row: int) -> None:
    if name in columns.skipped:
        return
    values = columns.values.setdefault(name, {})
    values.setdefault(text, array("q")).append(row)
    if len(values) > MAX_VALUES:
        del columns.values[name]
        columns.skipped[name] = f"more than {MAX_VALUES} distinct texts"


def _design(columns: _Columns) -> _Design:
    from scipy import sparse

    rows = len(columns.gain)
    design = _Design([], [], {})
    for name, numeric in sorted(columns.numeric.items()):
        raw = np.array(numeric)
        gone = np.isnan(raw)
        mean, spread = float(raw[~gone].mean()), float(raw[~gone].std())
        if spread > 1e-12 * max(1.0, abs(mean)):
            scaled = np.where(gone, 0.0, (raw - mean) / spread)
            design.names.append(("number", name, ""))
            design.columns.append(sparse.csc_array(scaled[:, None]))
            design.centres[name] = mean, spread
        elif not gone.any():
            columns.skipped[name] = "it never changes"
            continue
        else:
            design.centres[name] = mean, math.inf
        if gone.any():
            design.names.append(("missing", name, ""))
            design.columns.append(sparse.csc_array(gone[:, None].astype(np.float64)))
    for name, values in sorted(columns.values.items()):
        if all(len(where) == rows for where in values.values()):
            columns.skipped[name] = "it never changes"
            continue
        for text, where in sorted(values.items()):
            index = np.array(where)
            ones = (np.ones(len(index)), (index, np.zeros(len(index), dtype=np.int64)))
            design.names.append(("text", name, text))
            design.columns.append(sparse.csc_array(ones, shape=(rows, 1)))
    return design


def _fit(columns: _Columns, design: _Design, target: Any, weight: Floats) -> Logistic:
    from scipy import sparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=1000)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.fit(sparse.hstack(design.columns, format="csr"), target, sample_weight=weight)
    coefficients = dict(zip(design.names, map(_rounded, model.coef_[0]), strict=True))
    numeric = {}
    for name, (mean, spread) in design.centres.items():
        slope = coefficients.get(("number", name, ""), 0.0) / spread
        numeric[name] = slope, -slope * mean
    return Logistic(
        _rounded(model.intercept_[0]),
        numeric,
        {name: c for (kind, name, _), c in coefficients.items() if kind == "missing"},
        {(name, value): c for (kind, name, value), c in coefficients.items() if kind == "text"},
        len(target),
        columns.skipped,
        ("the fit did not converge in 1000 iterations",) if list(_unconverged(caught)) else (),
    )


def _rounded(coefficient: float) -> float:
    """Eight digits: more than the solver's tolerance gives, and fewer than its last bits.

    Those depend on where the linear algebra's arrays happen to lie in memory, and would make the
    same fit give other numbers in another process.
    """
    return float(f"{coefficient:.8g}")


def _unconverged(caught: Iterable[warnings.WarningMessage]) -> Iterator[str]:
    from sklearn.exceptions import ConvergenceWarning

    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            yield str(warning.message)
