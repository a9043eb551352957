"""Fitting a fusion: two logistic regressions on the same rows, with and without the decoder."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from promptrank.basics.arrays import Flags, Floats
from promptrank.errors import DataError, InputError, RowError
from promptrank.fusion.layers import DECODER, Layer, Values, Weight, field_values
from promptrank.fusion.scored import decoder_of
from promptrank.records import Candidate, Request
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores


@dataclass(slots=True)
class FusionRows:
    """Labelled candidates of the validation part."""

    values: list[Values] = field(default_factory=list)
    relevant: list[bool] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)


def rows_of(
    task: Task,
    requests: Iterable[Request],
    scores: Scores,
    fields: tuple[str, ...],
    gain_of: Callable[[Candidate], float | None],
    relevant_at: float,
) -> tuple[FusionRows, int]:
    """Labelled and scored candidates, and of how many requests they are.

    Args:
        scores: of the decoder, with its answers.
        fields: the declared numbers.
        gain_of: a candidate's gain, None where it is unlabelled.
        relevant_at: the gain from which it is relevant.

    Raises:
        InputError: a field that holds no number.
    """
    said, rows, used = decoder_of(task, scores), FusionRows(), 0
    for request in requests:
        before = len(rows.values)
        for candidate in request.candidates:
            decoder = said(request.request_id, candidate.candidate_id)
            gain = gain_of(candidate)
            if decoder is None or gain is None:
                continue
            try:
                numbers = field_values(request, candidate, fields)
            except RowError as error:
                raise InputError(f"request {request.request_id}: {error.message}") from None
            rows.values.append({**decoder, **numbers})
            rows.relevant.append(gain >= relevant_at)
            rows.weight.append(1.0 if candidate.weight is None else candidate.weight)
        used += len(rows.values) > before
    return rows, used


def names_of(task: Task, fields: Sequence[str]) -> list[str]:
    """Names of a fusion's features: the decoder's log-odds per question, then the numbers."""
    return [*(f"{DECODER}{name}" for name in task.questions), *fields]


def fit_fusion(rows: FusionRows, names: Sequence[str]) -> tuple[Layer, Layer]:
    """The layer over all ``names``, and the one over those that are not the decoder's.

    Logistic regression with scikit-learn's default ridge penalty on standardised columns.

    Raises:
        DataError: no rows, one class, or no convergence.
    """
    target, weight = target_of(rows)
    columns = {
        name: np.array([np.nan if v.get(name) is None else v[name] for v in rows.values], float)
        for name in names
    }
    own = {name: column for name, column in columns.items() if not name.startswith(DECODER)}
    return fit_layer(columns, target, weight), fit_layer(own, target, weight)


def target_of(rows: FusionRows) -> tuple[Flags, Floats]:
    """(rows,) whether each is relevant, and its weight.

    Raises:
        DataError: no rows, or one class.
    """
    if not rows.values:
        raise DataError("fusion: the validation part holds no labelled candidate with a score")
    target = np.array(rows.relevant, dtype=np.bool_)
    weight = np.array(rows.weight, dtype=np.float64)
    if not (weight[target].sum() > 0 and weight[~target].sum() > 0):
        raise DataError("fusion: all labels of the validation part are of one class")
    return target, weight


def fit_layer(columns: Mapping[str, Floats], target: Flags, weight: Floats) -> Layer:
    """Logistic regression on standardised columns; NaN is a missing number."""
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
