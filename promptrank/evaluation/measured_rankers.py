"""Every metric of every ranker on the same rows, and all their draws at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from promptrank.basics.arrays import Flags, Floats
from promptrank.evaluation.bootstrap import bootstrap, value_of
from promptrank.evaluation.labelled import Labelled
from promptrank.evaluation.measure import (
    Estimate,
    Measured,
    RankedRows,
    Rows,
    measure,
    measure_probability,
    rank_rows,
)
from promptrank.evaluation.metrics import Metric
from promptrank.evaluation.orders import order_measures
from promptrank.evaluation.reliability import calibrations, curves

MIN_SCORED = 0.5

Key = tuple[str, str]  # ranker, and what is measured: a metric, a bin, an agreement of orders


@dataclass(frozen=True, slots=True)
class MeasuredRankers:
    """What is to be drawn.

    Attributes:
        rows: those that are compared.
        measured: all that has a value and an interval.
        bins: of the reliability curves: mean P(relevant), and what ``measured`` has of them too.
    """

    rows: Rows
    measured: Mapping[Key, Measured]
    bins: Mapping[Key, tuple[float, Measured]]


def measure_rankers(
    labelled: Labelled,
    keep: Flags,
    names: Sequence[str],
    metrics: Sequence[Metric],
    reference: str,
    *,
    alone: bool = False,
) -> MeasuredRankers:
    """Metrics, reliability and agreement of orders, before any draw.

    Args:
        keep: rows on which every ranker has a score.
        names: the rankers.
        reference: the one with whose order the others' are compared.
        alone: metrics alone, without reliability and orders: a slice shows neither.
    """
    rows = kept_rows(labelled, keep)
    ranked = {name: rank_rows(rows.request, labelled.scores[name][keep]) for name in names}
    sure, chances = _chances(labelled, keep, names)
    sure_rows = rows.take(sure)
    measured: dict[Key, Measured] = {}
    for name in names:
        score = labelled.scores[name][keep]
        auc: Measured | None = None
        twins = _twins(name, names, labelled.scores, chances, ranked, keep)
        for metric in metrics:
            if (twin := twins[metric.kind.needs, metric.kind.unit]) != name:
                # One estimate for both, so that all draws are the same and they never differ.
                made = measured[twin, metric.name]
            elif metric.needs_probability:
                made = measure_probability(metric, sure_rows, chances.get(name))
            elif metric.base == "wauc" and rows.domain is None and auc and auc.estimate:
                # Over one domain it is AUC, whose draws cost most: they are made once.
                made = replace(auc, unit="domains", used=1)
            else:
                made = measure(metric, rows, score, ranked[name])
            auc = made if metric.base == "auc" else auc
            measured[name, metric.name] = made
    measured |= calibrations(sure_rows, chances)
    if alone:
        return MeasuredRankers(rows, measured, {})
    position = None if labelled.position is None else labelled.position[keep]
    measured |= order_measures(rows, ranked, reference, position)
    wanted = any(metric.needs_probability for metric in metrics)
    bins = curves(sure_rows, chances) if wanted else {}
    return MeasuredRankers(rows, measured | {key: share for key, (_, share) in bins.items()}, bins)


def draw_all(
    measured: Mapping[Key, Measured], num_subjects: int, draws: int, seed: int
) -> tuple[dict[Key, float], dict[Key, Floats]]:
    """Values, and (draws,) of each; none where there is one subject."""
    estimates: dict[Key, Estimate] = {
        key: metric.estimate for key, metric in measured.items() if metric.estimate is not None
    }
    values = {
        key: value_of(estimate, num_subjects) if (own := measured[key].value) is None else own
        for key, estimate in estimates.items()
    }
    estimates = {key: e for key, e in estimates.items() if not np.isnan(values[key])}
    if num_subjects < 2 or not draws or not estimates:
        return values, {}
    table = bootstrap(list(estimates.values()), num_subjects, draws, seed)
    return values, {key: table[:, i] for i, key in enumerate(estimates)}


def _twins(
    name: str,
    names: Sequence[str],
    scores: Mapping[str, Floats],
    chances: Mapping[str, Floats],
    ranked: Mapping[str, RankedRows],
    keep: Flags,
) -> dict[tuple[str, str], str]:
    """What metrics need and are a mean over -> the first ranker who has the same there."""

    def first(same: Callable[[str], bool]) -> str:
        return next((each for each in names if each == name or same(each)), name)

    own, order = scores[name][keep], ranked[name]
    scored = first(lambda each: np.array_equal(scores[each][keep], own))
    # Metrics of lists know the order within a request alone.
    listed = first(
        lambda each: (
            np.array_equal(ranked[each].tie, order.tie)
            and np.array_equal(ranked[each].order, order.order)
        )
    )
    chance = chances.get(name)
    sure = name
    if chance is not None:
        sure = first(lambda each: each in chances and np.array_equal(chances[each], chance))
    units = ("candidates", "subjects", "domains", "requests")
    twins = {("scores", unit): listed if unit == "requests" else scored for unit in units}
    return twins | {("probabilities", unit): sure for unit in units}


def kept_rows(labelled: Labelled, keep: Flags) -> Rows:
    """The rows that are compared, with dense codes of requests and subjects."""
    requests, request = np.unique(labelled.request[keep], return_inverse=True)
    subjects, subject = np.unique(labelled.subject[keep], return_inverse=True)
    return Rows(
        request,
        subject,
        labelled.gain[keep],
        labelled.relevant[keep],
        labelled.weight[keep],
        len(requests),
        len(subjects),
        None if labelled.domain is None else labelled.domain[keep],
    )


def _chances(
    labelled: Labelled, keep: Flags, names: Sequence[str]
) -> tuple[Flags, dict[str, Floats]]:
    """Which of the kept rows have P(relevant) by every ranker that offers it, and those."""
    offered = {
        name: labelled.probabilities[name][keep] for name in names if name in labelled.probabilities
    }
    offered = {n: v for n, v in offered.items() if np.isnan(v).mean() <= 1 - MIN_SCORED}
    sure = np.ones(int(keep.sum()), dtype=np.bool_)
    for values in offered.values():
        sure &= ~np.isnan(values)
    return sure, {n: v[sure] for n, v in offered.items()} if sure.any() else {}
