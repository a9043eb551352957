"""Values and draws as cells of a report: a metric with its interval, a difference and a verdict."""

from collections.abc import Mapping, Sequence

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import Interval, interval
from promptrank.evaluation.measure import Measured
from promptrank.evaluation.metrics import Metric
from promptrank.evaluation.report import Cell, Difference

Key = tuple[str, str]  # ranker, metric


def cell_of(
    metric: Metric,
    name: str,
    measured: Mapping[Key, Measured],
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> Cell:
    """One metric of one ranker with its interval, or why there is none."""
    key = name, metric.name
    reduced = measured[key]
    value = values.get(key, np.nan)
    if np.isnan(value):
        reason = reduced.reason or "the rows it needs have weight 0"
        return Cell(None, None, None, reason, reduced.unit, reduced.used, reduced.left_out)
    ends = _interval(metric, value, drawn.get(key))
    # No metric is below 0; an ECE without noise may be, and as such it goes into differences.
    value = max(0.0, value)
    if isinstance(ends, str):
        return Cell(value, None, None, ends, reduced.unit, reduced.used, reduced.left_out)
    low, high = max(0.0, ends.low), max(0.0, ends.high)
    return Cell(value, low, high, None, reduced.unit, reduced.used, reduced.left_out)


def _interval(metric: Metric, value: float, draws: Floats | None) -> Interval | str:
    if draws is None:
        return "no interval: one subject, or no draws"
    return interval(draws) or "no interval: undefined in too many draws; there are too few subjects"


def differences_of(
    metrics: Sequence[Metric],
    name: str,
    against: str,
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> dict[str, Difference]:
    """One ranker's metrics minus another's, draw by draw; without those that either lacks."""
    gaps = {m.name: _difference(m, name, against, values, drawn) for m in metrics}
    return {metric: gap for metric, gap in gaps.items() if gap is not None}


def _difference(
    metric: Metric,
    name: str,
    reference: str,
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> Difference | None:
    ours, theirs = (name, metric.name), (reference, metric.name)
    value = values.get(ours, np.nan) - values.get(theirs, np.nan)
    if np.isnan(value):
        return None
    draws = drawn[ours] - drawn[theirs] if ours in drawn and theirs in drawn else None
    ends = _interval(metric, value, draws)
    if isinstance(ends, str):
        return Difference(value, None, None, None)
    verdict = None
    if ends.excludes_zero:
        verdict = "better" if (ends.low > 0) != metric.lower_is_better else "worse"
    return Difference(value, ends.low, ends.high, verdict)
