"""The reward model of doubly robust estimates: what a candidate would earn at a place.

A ridge regression of the reward on what the baselines know
(`promptrank.evaluation.field_features`), the logged score, and the position. It is linear, so the
mean over equal scores is the prediction at the mean, and it takes graded rewards as it takes
clicks. It is fitted in folds of subjects: what is said of a subject's requests was learned from
others (cross-fitting; Chernozhukov et al. 2018). Estimates stay right where the model is wrong; a
better one makes them narrower.
"""

from __future__ import annotations  # array[float] is a type only for the checker

import math
from array import array
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.field_features import MAX_VALUES, candidate_features, subject_features
from promptrank.evaluation.logged_places import LoggedPlaces
from promptrank.records import Request

FOLDS = 5
POSITIONS = 20
"""Places below this one share its effect."""
PENALTY = 10.0
"""Of the ridge, on standardised columns: rare texts stay near the mean."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """Rewards to be expected, each from a model that saw no row of its subject.

    A candidate c at the place of logged place j has ``candidate[c] + place[j]``.

    Attributes:
        candidate: (candidates,)
        place: (places,)
    """

    candidate: Floats
    place: Floats


@dataclass(slots=True)
class RewardColumns:
    """Features of candidates as flat columns, taken in request by request."""

    rows: int = 0
    numbers: dict[str, array[float]] = field(default_factory=dict)
    texts: dict[str, dict[str, array[int]]] = field(default_factory=dict)  # value -> rows with it
    skipped: set[str] = field(default_factory=set)

    def add(self, request: Request) -> None:
        """Take in all candidates of a request."""
        shared_numbers, shared_texts = subject_features(request)
        for candidate in request.candidates:
            own_numbers, own_texts = candidate_features(candidate)
            if candidate.logged_score is not None:
                own_numbers["logged_score"] = candidate.logged_score
            for name, number in (*shared_numbers.items(), *own_numbers.items()):
                column = self.numbers.setdefault(name, array("d"))
                column.extend([math.nan] * (self.rows - len(column)))
                column.append(number)
            for name, text in (*shared_texts, *own_texts):
                self._add_text(name, text)
            self.rows += 1

    def _add_text(self, name: str, text: str) -> None:
        if name in self.skipped:
            return
        values = self.texts.setdefault(name, {})
        values.setdefault(text, array("q")).append(self.rows)
        if len(values) > MAX_VALUES:
            del self.texts[name]
            self.skipped.add(name)

    def matrix(self, keep: Flags) -> Any:
        """Sparse (kept candidates, features): standardised numbers, what is missing, texts."""
        from scipy import sparse

        columns = [sparse.csc_array((self.rows, 0))]
        for _, given in sorted(self.numbers.items()):
            column = np.full(self.rows, np.nan)
            column[: len(given)] = given
            gone = np.isnan(column)
            spread = float(column[~gone].std())
            if spread > 0:
                scaled = np.where(gone, 0.0, (column - column[~gone].mean()) / spread)
                columns.append(sparse.csc_array(scaled[:, None]))
            if gone.any():
                columns.append(sparse.csc_array(gone[:, None].astype(np.float64)))
        for _, values in sorted(self.texts.items()):
            for _, where in sorted(values.items()):
                index = np.array(where)
                ones = (np.ones(len(index)), (index, np.zeros(len(index), dtype=np.int64)))
                columns.append(sparse.csc_array(ones, shape=(self.rows, 1)))
        return sparse.hstack(columns, format="csr")[np.flatnonzero(keep)]


def expected_rewards(features: Any, places: LoggedPlaces) -> Predicted | None:
    """Cross-fitted predictions; None where there are fewer than two subjects.

    Args:
        features: sparse or dense (candidates, any number), of the places' candidates.
    """
    from scipy import sparse
    from sklearn.linear_model import Ridge

    folds = min(FOLDS, len(places.subject_ids))
    if folds < 2:
        return None
    fold = _folds(places, folds)
    candidate_fold, place_fold = fold[places.subject[places.request]], fold[places.place_subject]
    place = np.minimum(places.position, POSITIONS) - 1
    at = sparse.csr_array(
        (np.ones(len(place)), (np.arange(len(place)), place)), shape=(len(place), POSITIONS)
    )
    features = sparse.csr_array(features)
    logged = sparse.hstack([features[places.row], at], format="csr")
    predicted = Predicted(np.zeros(len(places.request)), np.zeros(len(place)))
    for number in range(folds):
        train = np.flatnonzero(place_fold != number)
        model = Ridge(alpha=PENALTY, solver="sparse_cg", tol=1e-8)
        model.fit(logged[train], places.reward[train])
        slopes = np.asarray(model.coef_, dtype=np.float64)
        mine = np.flatnonzero(candidate_fold == number)
        predicted.candidate[mine] = features[mine] @ slopes[:-POSITIONS]
        here = place_fold == number
        predicted.place[here] = float(model.intercept_) + slopes[-POSITIONS:][place[here]]
    return predicted


def _folds(places: LoggedPlaces, folds: int) -> Codes:
    """(subjects,) fold of each, by a hash of its id, of about equal size."""
    ids = [
        md5(name.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()
        for name in places.subject_ids
    ]
    fold = np.empty(len(ids), dtype=np.int64)
    fold[np.argsort(np.array(ids), kind="stable")] = np.arange(len(ids)) % folds
    return fold
