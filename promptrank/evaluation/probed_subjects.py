"""Whom a probe's edit matters to: each subject's own metric with it and without."""

from collections.abc import Sequence

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.measure import Measured, Rows, Sums, measure, rank_rows
from promptrank.evaluation.metrics import Metric, parse_metrics
from promptrank.evaluation.probe_rows import SubjectChange, SubjectChanges

MOST = 5  # subjects that are named
_SAME = 1e-9  # what moves no further is the same


def subject_changes(
    metrics: Sequence[Metric], rows: Rows, subject_ids: Sequence[str], plain: Floats, edited: Floats
) -> SubjectChanges | None:
    """Shares of subjects whose metric gets worse and better, and those to whom it matters most.

    The metric is the first that a subject has for itself, as a mean over its requests; AUC within
    the subject stands for ``auc``. None where no subject has any.

    Args:
        subject_ids: by the subject codes of ``rows``.
        plain, edited: scores of the rows.
    """
    for metric in (*metrics, *parse_metrics(["gauc"])):
        if metric.needs_probability:
            continue
        before, after = (_own(metric, rows, scores) for scores in (plain, edited))
        if before is None or after is None:
            continue
        known = np.flatnonzero(~np.isnan(before) & ~np.isnan(after))
        if not len(known):
            continue
        moved = (after - before)[known]
        order = np.lexsort((known, moved))  # those that lose most first; ties by code
        losing = [at for at in order[:MOST] if moved[at] < -_SAME]
        gaining = [at for at in order[::-1][: MOST - len(losing)] if moved[at] > _SAME]
        return SubjectChanges(
            metric.name,
            len(known),
            float((moved < -_SAME).mean()),
            float((moved > _SAME).mean()),
            tuple(
                SubjectChange(subject_ids[known[at]], float(moved[at]))
                for at in (*losing, *gaining)
            ),
        )
    return None


def _own(metric: Metric, rows: Rows, scores: Floats) -> Floats | None:
    """(subjects,) of a metric within each subject; None where it is no mean over subjects."""
    measured: Measured = measure(metric, rows, scores, rank_rows(rows.request, scores))
    if not isinstance(measured.estimate, Sums):
        return None
    # What a subject adds to the sums, finished by itself, is the metric over that subject alone.
    return measured.estimate.finish(measured.estimate.columns)
