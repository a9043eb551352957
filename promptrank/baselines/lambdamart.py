"""The baseline ``lambdamart``: LightGBM's LambdaMART on what a student of trees reads.

The columns are those of `promptrank.students.features`: declared fields, statistics and as-of
means, text statistics, overlaps and histories. So a decoder that beats it owes that to what it
knows of words, and not to numbers that the trees were not shown. The gain of a row is its label's
value, in thirty steps; the order is learned within requests, and only those with two values teach
one.

How many trees: NDCG@10 of one in five training subjects, chosen by a hash of their ids, tells when
to stop; then all are grown anew, on all subjects. The part ``valid`` is never looked at, so that it
may be the one that is judged.

Like the regression, it learns from all of the training part, some of which may be later than a
request that is judged (under a split by the last requests of each subject).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from promptrank.baselines.baseline import (
    NO_FIELD,
    NO_LABELS,
    ONE_CLASS,
    Aim,
    Baseline,
    Sources,
)
from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.basics.digests import json_digest
from promptrank.ranking.values import Values
from promptrank.records import Request
from promptrank.students.column_plan import make_plan
from promptrank.students.features import Features
from promptrank.students.targets import Target

if TYPE_CHECKING:
    import lightgbm as lgb

ROUNDS, PATIENCE, LEAVES, RATE = 300, 30, 31, 0.05
NO_LIBRARY = "it needs LightGBM: pip install 'promptrank[students]'"
NO_ORDER = "no training request has labels of two values, so there is no order to learn"
_HELD_OUT = 5  # one subject in so many


class LambdaMartFit:
    """Takes in nothing on the way: it needs the training requests twice, once they are known."""

    def __init__(self, aim: Aim) -> None:
        """Keep the aim."""
        self._aim = aim

    def add(self, request: Request) -> None:
        """Nothing is taken in."""

    def fit(self, sources: Sources) -> Baseline:
        """The trees; a reason where LightGBM is not installed or nothing can be learned."""
        try:
            from promptrank.students.gbdt import lambdamart
            from promptrank.students.gbdt.boosting import tree_params
        except ModuleNotFoundError as error:
            if error.name != "lightgbm":
                raise
            return Baseline(None, NO_LIBRARY)
        features = Features(make_plan(sources.train()), self._aim.task)
        lessons = _lessons(features, sources.train(), self._aim)
        if reason := _nothing_in(lessons, features, self._aim):
            return Baseline(None, reason)
        sources.say(f"lambdamart: boosting on {len(lessons.gain):,} rows")
        worth = np.array([0.0, 1.0])
        params = tree_params(len(lessons.gain), LEAVES, RATE)

        def boost(on: Flags, judge: Flags | None, rounds: int) -> "lgb.Booster":
            held = lessons.part(judge) if judge is not None and lessons.ordered(judge) else None
            table, target, request = lessons.part(on)
            return lambdamart.boost(
                table, target, request, held, worth, params, rounds, PATIENCE, features.categorical
            )

        whole = np.ones(len(lessons.gain), dtype=np.bool_)
        held = lessons.held_out
        rounds = ROUNDS // 3
        if lessons.ordered(held) and lessons.ordered(~held):
            rounds = max(1, boost(~held, held, ROUNDS).best_iteration)
        model = LambdaMart(features, boost(whole, None, rounds), rounds, len(lessons.gain))
        return Baseline(model.rank, facts=model.facts())


class LambdaMart:
    """Fitted trees."""

    def __init__(self, features: Features, booster: "lgb.Booster", rounds: int, rows: int) -> None:
        self.features, self.booster = features, booster
        self.rounds, self.rows = rounds, rows

    def rank(self, request: Request) -> Values:
        """The trees' sums; they mean nothing across requests but are compared all the same."""
        table = self.features.rows(request)
        if not len(table):
            return Values([])
        output = self.booster.predict(table, raw_score=True, num_threads=1)
        return Values(np.asarray(output, dtype=np.float64).tolist())

    def facts(self) -> dict[str, Any]:
        """What it learned from, for the report."""
        return {
            "rows": self.rows,
            "trees": self.rounds,
            "columns": list(self.features.names),
            "skipped": dict(self.features.plan.skipped),
        }


class _Lessons:
    """Labelled rows; all arrays are aligned.

    Attributes:
        held_out: whether a row is of a subject by whose requests trees are stopped.
    """

    def __init__(
        self, table: Floats, gain: Floats, weight: Floats, request: Codes, held_out: Flags
    ) -> None:
        self.table, self.gain, self.weight = table, gain, weight
        self.request, self.held_out = request, held_out

    def part(self, rows: Flags) -> tuple[Floats, Target, Codes]:
        """Columns, targets (the gain as a share of the largest) and requests of these rows."""
        low, high = self.gain.min(), self.gain.max()
        share = (self.gain[rows] - low) / (high - low)
        answers = np.column_stack([1 - share, share])
        return self.table[rows], Target(answers, self.weight[rows]), self.request[rows]

    def ordered(self, rows: Flags) -> bool:
        """Whether some request of these rows has labels of two values."""
        counts = (self.weight > 0) & rows
        pairs = np.unique(np.column_stack([self.request[counts], self.gain[counts]]), axis=0)
        return len(pairs) > len(np.unique(self.request[counts]))


def _lessons(features: Features, requests: Iterable[Request], aim: Aim) -> _Lessons:
    tables, gain, weight = [np.empty((0, len(features.names)))], list[float](), list[float]()
    codes, held_out = list[int](), list[bool]()
    for code, request in enumerate(requests):
        gains = [aim.gain_of(candidate) for candidate in request.candidates]
        known = [i for i, value in enumerate(gains) if value is not None]
        if not known:
            continue
        tables.append(features.rows(request)[known])
        gain += [value for value in gains if value is not None]
        given = [request.candidates[i].weight for i in known]
        weight += [1.0 if each is None else each for each in given]
        codes += [code] * len(known)
        chosen = int(json_digest(request.subject.subject_id)[:8], 16) % _HELD_OUT == 0
        held_out += [chosen] * len(known)
    return _Lessons(
        np.concatenate(tables),
        np.array(gain),
        np.array(weight),
        np.array(codes, dtype=np.int64),
        np.array(held_out, dtype=np.bool_),
    )


def _nothing_in(lessons: _Lessons, features: Features, aim: Aim) -> str | None:
    """Why nothing can be learned, if so."""
    counts = lessons.weight > 0
    if not counts.any():
        return NO_LABELS
    gain = lessons.gain[counts]
    if gain.min() == gain.max():
        return ONE_CLASS
    if not features.names:
        return NO_FIELD
    return None if lessons.ordered(counts) else NO_ORDER
