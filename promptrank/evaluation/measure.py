"""Metrics as functions of how often each subject counts.

Every metric is reduced once to what its bootstrap needs: an estimate that takes multiplicities of
shape (draws, subjects) and returns (draws,) values. The metric itself is the draw in which every
subject counts once, so a value and its interval cannot disagree about the definition; ``ece``
alone has a value of its own, see `promptrank.evaluation.measures.calibration_error`. Definitions
are the records of `promptrank.schema.metric_kinds`.
"""

from collections.abc import Callable
from importlib import import_module

from promptrank.basics.arrays import Floats
from promptrank.evaluation.measures.measurable import (
    Estimate,
    Measured,
    RankedRows,
    Rows,
    Sums,
    rank_rows,
)
from promptrank.evaluation.metrics import Metric
from promptrank.schema.metric_kinds import MetricKind

__all__ = [
    "Estimate",
    "Measured",
    "RankedRows",
    "Rows",
    "Sums",
    "function_of",
    "measure",
    "measure_probability",
    "rank_rows",
]


def function_of(kind: MetricKind) -> Callable[..., Measured]:
    """What computes a metric."""
    module, _, name = kind.function.partition(".")
    function: Callable[..., Measured] = getattr(
        import_module(f"promptrank.evaluation.measures.{module}"), name
    )
    return function


def measure(metric: Metric, rows: Rows, score: Floats, ranked: RankedRows) -> Measured:
    """Reduce a metric of scores; ``score`` holds no NaN, ``ranked`` is its `rank_rows`."""
    return function_of(metric.kind)(rows, score, ranked, metric.cutoff)


def measure_probability(metric: Metric, rows: Rows, probability: Floats | None) -> Measured:
    """Reduce a metric of probabilities, which hold no NaN; None where none are offered."""
    if probability is None:
        return Measured(None, "candidates", reason="offers no probabilities")
    if not rows.weight.sum():
        return Measured(None, "candidates", reason="all weights are 0")
    return function_of(metric.kind)(rows, probability)
