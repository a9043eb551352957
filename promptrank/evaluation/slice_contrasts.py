"""Which slices depart from the others: a cold start is named only where it is clear of luck.

For each slicing, the judged ranker's first metric in a slice less the median of the other slices,
weighted by their candidates. Not less their mean: one bad slice would make all others look good.
Not less the metric of the whole: over all candidates together, ``auc`` also weighs pairs of
different slices. The slices of a slicing are one family
(`promptrank.evaluation.simultaneous`): where all are alike, one of them is named in about 5% of
slicings. Slices of fewer than `LEAST` subjects are among the others, and not judged themselves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.labelled import Labelled
from promptrank.evaluation.metrics import Metric, parse_metrics
from promptrank.evaluation.part_draws import draw_parts
from promptrank.evaluation.report import Report, ReportSlice
from promptrank.evaluation.report_cells import family_of
from promptrank.evaluation.report_rows import Difference
from promptrank.evaluation.slices import Slicing

LEAST = 30


def with_contrasts(
    labelled: Labelled,
    keep: Flags,
    report: Report,
    slices: Sequence[ReportSlice],
    slicings: Sequence[Slicing],
) -> Iterator[ReportSlice]:
    """The slices, each with how far it departs from the others of its slicing, and its promises.

    Args:
        labelled: with the codes of the slicings.
        keep: rows on which every ranker has a score.
    """
    (metric,) = parse_metrics(report.metrics[:1])
    offers = (report.judged or report.reference) in labelled.probabilities
    for slicing in slicings:
        mine = [part for part in slices if part.by == slicing.name]
        beside, gaps = dict[str, Difference](), dict[str, Difference]()
        if len(mine) > 1:
            beside = _contrasts(labelled, keep, report, slicing, metric)
            gaps = _contrasts(labelled, keep, report, slicing, None) if offers else {}
        yield from (
            replace(part, beside=beside.get(part.name), promised=gaps.get(part.name))
            for part in mine
        )


def _contrasts(
    labelled: Labelled, keep: Flags, report: Report, slicing: Slicing, metric: Metric | None
) -> dict[str, Difference]:
    """By slice the judged ranker's contrast; of the calibration gap where there is no metric."""
    judged, count = report.judged or report.reference, len(slicing.labels)
    codes = labelled.slices[slicing.name]
    parts = draw_parts(labelled, keep, [judged], metric, codes, count, report.draws, report.seed)
    drawn = parts.rankers[judged]
    values = contrasts_of(drawn.values[None], parts.rows)[0]
    draws = contrasts_of(drawn.draws, parts.rows) if len(drawn.draws) else None
    gaps = {
        slicing.labels[place]: (float(values[place]), None if draws is None else draws[:, place])
        for place in range(count)
        if parts.subjects[place] >= LEAST and not np.isnan(values[place])
    }
    return family_of(gaps, lower_is_better=metric is None or metric.lower_is_better)


def contrasts_of(values: Floats, weight: Codes) -> Floats:
    """(rows, parts): each part less the weighted median of the other parts that are defined.

    Args:
        values: (rows, parts); NaN where undefined.
        weight: (parts,).
    """
    made = np.full(values.shape, np.nan)
    for part in range(values.shape[1]):
        others = np.arange(values.shape[1]) != part
        made[:, part] = values[:, part] - _medians(values[:, others], weight[others])
    return made


def _medians(values: Floats, weight: Codes) -> Floats:
    """(rows,) weighted medians; between two values whose weights' middles lie around the half."""
    known = ~np.isnan(values)
    order = np.argsort(np.where(known, values, np.inf), axis=1)
    weights = np.take_along_axis(np.where(known, weight, 0).astype(np.float64), order, 1)
    ordered = np.take_along_axis(np.where(known, values, 0.0), order, 1)
    total, last = weights.sum(axis=1), known.sum(axis=1) - 1
    some = (total > 0) & (last >= 0)
    medians = np.full(len(values), np.nan)
    rows = np.flatnonzero(some)
    if not len(rows):
        return medians
    at = (weights.cumsum(axis=1) - weights / 2)[rows] / total[rows, None]
    below = np.clip((at <= 0.5).sum(axis=1) - 1, 0, last[rows])
    above = np.minimum(below + 1, last[rows])
    each = np.arange(len(rows))
    gap = at[each, above] - at[each, below]
    part = np.divide(0.5 - at[each, below], gap, out=np.zeros(len(rows)), where=gap > 0)
    low, high = ordered[rows, below], ordered[rows, above]
    medians[rows] = low + np.clip(part, 0, 1) * (high - low)
    return medians
