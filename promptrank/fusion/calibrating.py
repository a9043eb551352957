"""Fitting a calibration: the decoder's log-odds against what came out, on the validation part."""

import math

import numpy as np

from promptrank.errors import DataError, InputError
from promptrank.fusion.fitting import FusionRows, fit_layer, target_of
from promptrank.fusion.layers import DECODER, Layer, Weight
from promptrank.records import Request
from promptrank.schema.fusion_options import FusionKind

Knots = tuple[tuple[float, float], ...]

HOTTEST, COLDEST = 100.0, 0.05
"""Temperatures between which the best is looked for."""
_NO_ORDER = (
    "the decoder's log-odds do not rise with the labels of the validation part, so there is "
    "nothing to calibrate; train it first"
)


class NoOrder(DataError):
    """Log-odds that do not rise with the labels."""


def check_rate(request: Request) -> None:
    """Refuse negatives that were sampled: frequencies among them are those of the sampler.

    Raises:
        InputError: a request with sampled negatives, of which some candidate has no weight.
    """
    if request.meta.get("negatives") and any(c.weight is None for c in request.candidates):
        raise InputError(
            f"request {request.request_id} holds sampled negatives, and probabilities that are "
            "fitted on them are those of the sample; calibrate on requests as they come, or give "
            "every candidate the weight that makes up for its sampling"
        )


def rate_alone(rows: FusionRows) -> Layer:
    """The layer that knows the share of relevant candidates and no candidate."""
    target, weight = target_of(rows)
    rate = float(weight @ target / weight.sum())
    return Layer(math.log(rate / (1 - rate)), ())


def calibrate_nothing(rows: FusionRows, question: str, by: FusionKind) -> tuple[Layer, Knots]:
    """The flattest calibration of its kind, for log-odds that know nothing of the labels.

    It shows on an engine without a model how fitting, ranking and evaluation fit together: ranks
    stay, and every probability is near .5, or near the rate.
    """
    target, weight = target_of(rows)
    name = f"{DECODER}{question}"
    odds = [float(values[name] or 0.0) for values in rows.values]
    rate = float(weight @ target / weight.sum())
    if by == "isotonic":
        edge = min(rate, 1 - rate) / 2
        low, high = min(odds), max(odds)
        return Layer(0.0, (Weight(name, 0.0, 1.0, 1.0),)), ((low, rate - edge), (high, rate + edge))
    offset = math.log(rate / (1 - rate)) if by == "platt" else 0.0
    return Layer(offset, (Weight(name, 0.0, 1.0, 1 / HOTTEST),)), ()


def fit_calibration(rows: FusionRows, question: str, by: FusionKind) -> tuple[Layer, Layer, Knots]:
    """The layer over the decoder's log-odds, the one without them, and the knots of ``isotonic``.

    ``temperature`` has the least log-loss of all T; ``platt`` is logistic regression with
    scikit-learn's default ridge penalty, as a fusion's layer; ``isotonic`` is the least squares
    fit, kept within (0, 1) by half a candidate.

    Raises:
        DataError: no rows or one class.
        NoOrder: log-odds that do not rise with the labels.
    """
    target, weight = target_of(rows)
    name = f"{DECODER}{question}"
    odds = np.array([float(values[name] or 0.0) for values in rows.values])
    without = rate_alone(rows)
    if by == "platt":
        layer = fit_layer({name: odds}, target, weight)
        if layer.weights[0].slope <= 0:
            raise NoOrder(f"fusion: {_NO_ORDER}")
        return layer, without, ()
    if by == "temperature":
        from scipy.optimize import minimize_scalar

        sign = np.where(target, -1.0, 1.0)

        def loss(log_t: float) -> float:
            return float(weight @ np.logaddexp(0.0, sign * odds / math.exp(log_t)))

        bounds = math.log(COLDEST), math.log(HOTTEST)
        best = math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
        if best > 0.99 * HOTTEST:
            raise NoOrder(f"fusion: {_NO_ORDER}")
        return Layer(0.0, (Weight(name, 0.0, 1.0, 1 / best),)), without, ()
    from sklearn.isotonic import IsotonicRegression

    fit = IsotonicRegression(increasing=True, out_of_bounds="clip")
    fit.fit(odds, target.astype(np.float64), sample_weight=weight)
    edge = 0.5 / len(odds)
    chances = np.clip(fit.y_thresholds_, edge, 1 - edge)
    if chances[0] == chances[-1]:
        raise NoOrder(f"fusion: {_NO_ORDER}")
    knots = tuple(zip(fit.X_thresholds_.tolist(), chances.tolist(), strict=True))
    return Layer(0.0, (Weight(name, 0.0, 1.0, 1.0),)), without, knots
