"""Boosting for the ``gbdt`` kind: LightGBM grows the trees, the outputs and leaf values are ours.

Two outputs share a trunk here as they do in a network: a round grows one tree on the sum of both
outputs' gradients, and each output then gets leaf values of its own, ``-G / (H + 1)`` over its own
gradients (multi-output boosting with shared splits; Zhang and Jung, arXiv 1909.04373). The second
output's leaf values are never written into the tree, so it is gone once training ends.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import lightgbm as lgb
import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.students.features import Features
from promptrank.students.gbdt import lambdamart
from promptrank.students.lessons import Learning, LessonRows
from promptrank.students.scale import Scale, fit_scale
from promptrank.students.targets import Known, Target, cross_entropy, judged_by, targets

_RIDGE = 1.0


class Boosting:
    """Boosting of one question: outputs are held here, the booster only grows trees."""

    def __init__(
        self,
        table: Floats,
        features: Features,
        rows: LessonRows,
        known: Known,
        settings: Learning,
        options: Mapping[str, Any],
    ) -> None:
        self.settings, self.options = settings, options
        self.train, self.valid = table[~rows.valid], table[rows.valid]
        self.known, self.valid_known = _take(known, ~rows.valid), _take(known, rows.valid)
        self.request, self.valid_request = rows.request[~rows.valid], rows.request[rows.valid]
        self.categorical = features.categorical
        own = np.zeros_like(self.known.labels)
        main, aux = targets(self.known, settings.loss, settings.alpha, own)
        self.scale = fit_scale(main, known.values)
        self.aux_scale = fit_scale(aux, known.values) if aux is not None else None
        self.params = self._params(len(self.train))
        self.data = lgb.Dataset(
            self.train,
            categorical_feature=features.categorical,
            params=self.params,
            free_raw_data=False,
        )

    def _params(self, rows: int) -> dict[str, Any]:
        options, settings = self.options, self.settings
        given = tree_params(
            rows,
            options["leaves"],
            options["learning_rate"],
            options["min_leaf"],
            seed=settings.seed,
            threads=settings.threads,
        )
        return {"objective": "none", **given}

    def run(self) -> tuple[lgb.Booster, Scale]:
        if self.options["objective"] == "lambdamart":
            return self._lambdamart()
        booster = lgb.Booster(self.params, self.data)
        output, aux_output = np.zeros(len(self.train)), np.zeros(len(self.train))
        judged, judge = np.zeros(len(self.valid)), self._judge()
        best, best_rounds = self._loss(judge, judged), 0
        for done in range(self.options["rounds"]):
            main, aux, gradients = self._gradients(output, aux_output)
            if _grow(booster, gradients):
                break
            leaf = _leaves(booster, self.train, done)
            values = self._leaf_values(leaf, main)
            for index, value in enumerate(values):
                booster.set_leaf_output(done, index, float(value))
            output += values[leaf]
            if aux is not None:
                aux_output += self._leaf_values(leaf, aux)[leaf]
            if judge is None:
                best_rounds = done + 1
                continue
            judged += values[_leaves(booster, self.valid, done)]
            loss = self._loss(judge, judged)
            if loss < best:
                best, best_rounds = loss, done + 1
            elif done + 1 - best_rounds >= self.options["patience"]:
                break
        return _cut(booster, best_rounds), self.scale

    def _judge(self) -> Target | None:
        """What early stopping looks at; None where nothing of ``valid`` counts for it."""
        known, loss = self.valid_known, judged_by(self.known, self.valid_known)
        target, _ = targets(known, loss, self.settings.alpha, known.labels)
        return target if target.weight.sum() > 0 else None

    def _loss(self, judge: Target | None, output: Floats) -> float:
        if judge is None:
            return float("inf")
        return cross_entropy(judge, np.exp(self.scale.log_probabilities(output)))

    def _gradients(
        self, output: Floats, aux_output: Floats
    ) -> tuple[Any, Any, tuple[Floats, Floats]]:
        """Each output's (first, second) derivatives, and their sums, on which the tree grows."""
        settings = self.settings
        own = np.exp(self.scale.log_probabilities(output))
        main, aux = targets(self.known, settings.loss, settings.alpha, own)
        gradients = self.scale.gradients(main, output)
        if aux is None or self.aux_scale is None:
            return gradients, None, gradients
        aux_gradients = self.aux_scale.gradients(aux, aux_output)
        sums = gradients[0] + aux_gradients[0], gradients[1] + aux_gradients[1]
        return gradients, aux_gradients, sums

    def _leaf_values(self, leaf: Any, gradients: tuple[Floats, Floats]) -> Floats:
        size = int(leaf.max()) + 1
        first = np.bincount(leaf, gradients[0], size)
        second = np.bincount(leaf, gradients[1], size)
        values: Floats = -self.options["learning_rate"] * first / (second + _RIDGE)
        return values

    def _lambdamart(self) -> tuple[lgb.Booster, Scale]:
        settings, worth = self.settings, self.known.values
        main, _ = targets(self.known, settings.loss, settings.alpha, self.known.labels)
        judge = self._judge()
        booster = lambdamart.boost(
            self.train,
            main,
            self.request,
            (self.valid, judge, self.valid_request) if judge is not None else None,
            worth,
            self.params,
            self.options["rounds"],
            self.options["patience"],
            self.categorical,
        )
        booster = _cut(booster, booster.best_iteration or booster.num_trees())
        rows, target = (self.valid, judge) if judge is not None else (self.train, main)
        output = np.asarray(booster.predict(rows, raw_score=True, num_threads=1))
        return booster, lambdamart.calibrate(output, target, worth)


def tree_params(
    rows: int,
    leaves: int,
    learning_rate: float,
    min_leaf: int | None = None,
    *,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Any]:
    """LightGBM's settings for so many training rows, the same in every run.

    Args:
        min_leaf: rows in a leaf, at least; by the number of rows where left out.
    """
    least = min_leaf or max(5, min(50, rows // 100))
    return {
        "num_leaves": leaves,
        "learning_rate": learning_rate,
        "min_data_in_leaf": least,
        "feature_fraction": 0.8,
        "lambda_l2": _RIDGE,
        "max_cat_to_onehot": 4,
        "min_data_per_group": min(100, 2 * least),
        "deterministic": True,
        "force_row_wise": True,
        "seed": seed,
        "num_threads": threads or 1,
        "verbosity": -1,
    }


def _take(known: Known, keep: Any) -> Known:
    return Known(known.labels[keep], known.teacher[keep], known.weight[keep], known.values)


def _grow(booster: lgb.Booster, gradients: tuple[Floats, Floats]) -> bool:
    """Add a tree on these derivatives; True where no split was left to make."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return booster.update(fobj=lambda _, __: gradients)


def _leaves(booster: lgb.Booster, table: Floats, tree: int) -> Any:
    leaves = booster.predict(table, pred_leaf=True, start_iteration=tree, num_iteration=1)
    return np.asarray(leaves, dtype=np.int64).reshape(len(table))


def _cut(booster: lgb.Booster, rounds: int) -> lgb.Booster:
    """The trees of the first rounds, one at least, as they would be read back from a file."""
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=max(1, rounds)))
