"""Values and draws as cells of a report: a metric with its interval, a difference and a verdict."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import Interval, interval, interval_of
from promptrank.evaluation.measure import Measured
from promptrank.evaluation.metrics import Metric
from promptrank.evaluation.report_rows import Cell, Difference, RankerRow
from promptrank.evaluation.simultaneous import corrections
from promptrank.evaluation.unseen import unseen_difference

Key = tuple[str, str]  # ranker, metric
Place = TypeVar("Place", bound=Hashable)


def ranker_rows(
    metrics: Sequence[Metric],
    unscored: Mapping[str, int],
    judged: str | None,
    measured: Mapping[Key, Measured],
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> tuple[RankerRow, ...]:
    """A row for each ranker, the reference first, with its differences to it.

    Args:
        unscored: ranker -> labelled candidates that it has no score for; in their order.
        judged: the ranker that would ship; where it is not the reference, every other row says how
            far it is behind that one.
    """
    reference, *others = unscored
    each = [(name, reference) for name in others]
    to_reference = differences_of(metrics, each, measured, values, drawn)
    differences = dict(zip(others, to_reference, strict=True))
    behind: dict[str, dict[str, Difference]] = {}
    if judged in others:
        beside = [name for name in unscored if name != judged]
        pairs = [(judged, name) for name in beside]
        leads = differences_of(metrics, pairs, measured, values, drawn)
        behind = dict(zip(beside, leads, strict=True))
    return tuple(
        RankerRow(
            name,
            count,
            {m.name: cell_of(m, name, measured, values, drawn) for m in metrics},
            differences.get(name, {}),
            behind.get(name, {}),
        )
        for name, count in unscored.items()
    )


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
    draws = drawn.get(key)
    ends = None if draws is None else _interval(metric, reduced, value, draws)
    # No metric is below 0; an ECE without noise may be, and as such it goes into differences.
    value = max(0.0, value)
    if ends is None:
        undefined = "undefined in too many draws; there are too few subjects"
        why = "one subject, or no draws" if draws is None else reduced.reason or undefined
        why = f"no interval: {why}"
        return Cell(value, None, None, why, reduced.unit, reduced.used, reduced.left_out)
    low, high = max(0.0, ends.low), max(0.0, ends.high)
    return Cell(value, low, high, None, reduced.unit, reduced.used, reduced.left_out)


def _interval(metric: Metric, reduced: Measured, value: float, draws: Floats) -> Interval | None:
    # Draws of ECE are those of a test, whose percentiles are its ends.
    return interval(draws) if metric.base == "ece" else interval_of(reduced.estimate, value, draws)


def differences_of(
    metrics: Sequence[Metric],
    family: Sequence[tuple[str, str]],
    measured: Mapping[Key, Measured],
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> list[dict[str, Difference]]:
    """For each (name, against) of a family its metrics' differences, without those it lacks.

    Within each metric the intervals are corrected for how many comparisons the family has.
    """
    made: list[dict[str, Difference]] = [{} for _ in family]
    for metric in metrics:
        for place, difference in _family(metric, family, measured, values, drawn).items():
            made[place][metric.name] = difference
    return made


def _family(
    metric: Metric,
    family: Sequence[tuple[str, str]],
    measured: Mapping[Key, Measured],
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> dict[int, Difference]:
    """The differences of one metric, by place in the family."""
    gaps = dict[int, tuple[float, Floats | None]]()
    for place, (name, against) in enumerate(family):
        ours, theirs = (name, metric.name), (against, metric.name)
        value = values.get(ours, np.nan) - values.get(theirs, np.nan)
        if np.isnan(value):
            continue
        gaps[place] = value, None
        if ours in drawn and theirs in drawn:
            gap = drawn[ours] - drawn[theirs]
            both = measured[ours].estimate, measured[theirs].estimate
            gaps[place] = value, gap + unseen_difference(*both, len(gap))
    return family_of(gaps, lower_is_better=metric.lower_is_better, largest=metric.kind.largest)


def family_of(
    gaps: Mapping[Place, tuple[float, Floats | None]],
    *,
    lower_is_better: bool,
    largest: float | None = None,
) -> dict[Place, Difference]:
    """Differences that are looked at together, each with an interval that is corrected for all.

    Args:
        gaps: each one's value, and (draws,) of it from the same draws of subjects, if there are.
        largest: no difference is farther from 0; None where there is no such bound.
    """
    made, draws = dict[Place, Difference](), dict[Place, Floats]()
    ends = dict[Place, Interval]()
    for place, (value, drawn) in gaps.items():
        made[place] = Difference(value, None, None, None)
        # Ends as they are: most subjects of two rankers who are alike differ by nothing, and what
        # skew the others have is by chance.
        span = None if drawn is None else interval(drawn)
        if drawn is not None and span is not None:
            draws[place], ends[place] = drawn, _within(span, largest)
    for (place, own), more in zip(ends.items(), corrections([*draws.values()]), strict=True):
        wide = _within(Interval(own.low - more.widening, own.high + more.widening), largest)
        verdict = None
        if wide.excludes_zero:
            verdict = "better" if (wide.low > 0) != lower_is_better else "worse"
        made[place] = Difference(
            made[place].value, own.low, own.high, verdict, wide.low, wide.high, more.detectable
        )
    return made


def _within(span: Interval, largest: float | None) -> Interval:
    if largest is None:
        return span
    return Interval(max(span.low, -largest), min(span.high, largest))
