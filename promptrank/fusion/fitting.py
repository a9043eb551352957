"""Fitting a fusion: two logistic regressions on the same rows, with and without the decoder."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from promptrank.basics.arrays import Flags, Floats
from promptrank.errors import DataError
from promptrank.fusion.layers import DECODER, Layer, Values, Weight


@dataclass(slots=True)
class FusionRows:
    """Labelled candidates of the validation part."""

    values: list[Values] = field(default_factory=list)
    relevant: list[bool] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)


def fit_fusion(rows: FusionRows, names: Sequence[str]) -> tuple[Layer, Layer]:
    """The layer over all ``names``, and the one over those that are not the decoder's.

    Logistic regression with scikit-learn's default ridge penalty on standardised columns.

    Raises:
        DataError: no rows, one class, or no convergence.
    """
    if not rows.values:
        raise DataError("fusion: the validation part holds no labelled candidate with a score")
    target = np.array(rows.relevant, dtype=np.bool_)
    weight = np.array(rows.weight, dtype=np.float64)
    if not (weight[target].sum() > 0 and weight[~target].sum() > 0):
        raise DataError("fusion: all labels of the validation part are of one class")
    columns = {
        name: np.array([np.nan if v.get(name) is None else v[name] for v in rows.values], float)
        for name in names
    }
    own = {name: column for name, column in columns.items() if not name.startswith(DECODER)}
    return _fit(columns, target, weight), _fit(own, target, weight)


def _fit(columns: Mapping[str, Floats], target: Flags, weight: Floats) -> Layer:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    blocks, made = [], []
    for name, column in columns.items():
        gone = np.isnan(column)
        mean = float(column[~gone].mean()) if not gone.all() else 0.0
        spread = float(column[~gone].std()) if not gone.all() else 0.0
        # A column that never changes says nothing, and would be divided by nothing.
        scale = spread if spread > 1e-12 * max(1.0, abs(mean)) else 1.0
        blocks.append(np.where(gone, 0.0, (column - mean) / scale))
        blocks.append(gone.astype(np.float64))
        made.append((name, mean, scale))
    model = LogisticRegression(max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(np.column_stack(blocks), target, sample_weight=weight)
        except ConvergenceWarning:
            raise DataError("fusion: the fit did not converge in 1000 iterations") from None
    slopes = [float(c) for c in model.coef_[0]]
    weights = [
        Weight(name, mean, scale, slopes[2 * i], slopes[2 * i + 1])
        for i, (name, mean, scale) in enumerate(made)
    ]
    return Layer(float(model.intercept_[0]), tuple(weights))
