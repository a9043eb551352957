"""LambdaMART for the ``gbdt`` kind: LightGBM's own objective, then a scale for its scores.

Ranking scores are no probabilities, so the scale's slope and base rates are fitted to the targets
afterwards (Platt's method, for any number of answers).
"""

from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.students.scale import Scale, fit_scale
from promptrank.students.targets import Target, cross_entropy

_GRADES = 30


def boost(
    table: Floats,
    target: Target,
    request: Codes,
    judge: tuple[Floats, Target, Codes] | None,
    worth: Floats,
    params: dict[str, Any],
    rounds: int,
    patience: int,
    categorical: list[int],
) -> lgb.Booster:
    """Grow trees for NDCG@10; a row's gain is its target's expected worth, in 30 steps.

    Args:
        request: (rows,) codes, rows of a request side by side.
        judge: rows, targets and codes to stop by; None to take all rounds.
    """
    params = params | {
        "objective": "lambdarank",
        "label_gain": list(range(_GRADES + 1)),
        "metric": "ndcg",
        "eval_at": [10],
    }
    data = _dataset(table, target, request, worth, params, categorical, None)
    valid = [_dataset(*judge, worth, params, categorical, data)] if judge is not None else []
    stop: list[Callable[..., Any]] = [lgb.early_stopping(patience, verbose=False)] if valid else []
    return lgb.train(params, data, rounds, valid_sets=valid, callbacks=stop)


def _dataset(
    table: Floats,
    target: Target,
    request: Codes,
    worth: Floats,
    params: dict[str, Any],
    categorical: list[int],
    reference: lgb.Dataset | None,
) -> lgb.Dataset:
    keep = target.weight > 0
    grades = np.rint(_GRADES * (target.answers[keep] @ worth))
    _, sizes = np.unique(request[keep], return_counts=True)
    return lgb.Dataset(
        table[keep],
        grades,
        group=sizes,
        weight=target.weight[keep],
        categorical_feature=categorical,
        params=params,
        reference=reference,
    )


def calibrate(output: Floats, target: Target, worth: Floats) -> Scale:
    """The scale under which scores explain a target best; its slope never turns the order round."""
    from scipy.optimize import minimize

    start = fit_scale(target, worth).base

    def loss(given: Floats) -> float:
        scale = Scale(given[1:], worth * np.exp(given[0]))
        return cross_entropy(target, np.exp(scale.log_probabilities(output)))

    minimum = minimize(
        loss, np.array([0.0, *start]), method="Nelder-Mead", options={"maxiter": 4000}
    )
    return Scale(np.array(minimum.x[1:]), worth * float(np.exp(minimum.x[0])))
