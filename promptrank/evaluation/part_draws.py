"""One metric of some rankers in each part of the rows, all on the same draws of subjects.

A report of a slice draws the slice's own subjects. What is said of parts beside each other, as that
quality falls from week to week, needs draws of all subjects that every part shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.labelled import Labelled
from promptrank.evaluation.measure import (
    Measured,
    Rows,
    measure,
    measure_probability,
    rank_rows,
)
from promptrank.evaluation.measured_rankers import draw_all, kept_rows
from promptrank.evaluation.metrics import Metric
from promptrank.evaluation.reliability import calibration_gap


@dataclass(frozen=True, slots=True)
class PartDraws:
    """A metric of one ranker in each part.

    Attributes:
        measured: by part.
        values: (parts,); NaN where it is undefined.
        draws: (draws, parts); NaN where a draw leaves it undefined. No rows without draws.
    """

    measured: tuple[Measured, ...]
    values: Floats
    draws: Floats


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of the rows that all rankers score.

    Attributes:
        rows, subjects: (parts,) how many.
        rankers: by name.
    """

    rows: Codes
    subjects: Codes
    rankers: dict[str, PartDraws]


def draw_parts(
    labelled: Labelled,
    keep: Flags,
    names: Sequence[str],
    metric: Metric | None,
    codes: Codes,
    count: int,
    draws: int,
    seed: int,
) -> Parts:
    """Measure a metric in each part.

    Args:
        keep: rows on which every ranker has a score.
        names: the rankers.
        metric: None for the calibration gap: mean P(relevant) less the share that is relevant.
        codes: the part of each of all rows.
        count: of parts.
    """
    rows, codes = kept_rows(labelled, keep), codes[keep]
    measured: dict[tuple[str, str], Measured] = {}
    inside = [codes == part for part in range(count)]
    for name in names:
        score = labelled.scores[name][keep]
        chance = labelled.probabilities.get(name)
        chance = chance[keep] if chance is not None else None
        for part, here in enumerate(inside):
            measured[name, str(part)] = _measured(metric, rows, here, score, chance)
    values, drawn = draw_all(measured, rows.num_subjects, draws, seed)
    size = max((len(each) for each in drawn.values()), default=0)
    return Parts(
        np.array([int(here.sum()) for here in inside]),
        np.array([len(np.unique(rows.subject[here])) for here in inside]),
        {
            name: PartDraws(
                tuple(measured[name, str(part)] for part in range(count)),
                np.array([values.get((name, str(part)), np.nan) for part in range(count)]),
                np.column_stack(
                    [drawn.get((name, str(p)), np.full(size, np.nan)) for p in range(count)]
                ),
            )
            for name in names
        },
    )


def _measured(
    metric: Metric | None, rows: Rows, here: Flags, score: Floats, chance: Floats | None
) -> Measured:
    if not rows.weight[here].any():
        return Measured(None, "candidates", reason="no candidate that counts")
    if metric is not None and not metric.needs_probability:
        part = rows.take(here)
        return measure(metric, part, score[here], rank_rows(part.request, score[here]))
    if chance is None:
        return Measured(None, "candidates", reason="offers no probabilities")
    sure = here & ~np.isnan(chance)
    if not sure.any():
        return Measured(None, "candidates", reason="offers no probabilities")
    if metric is None:
        return calibration_gap(rows.take(sure), chance[sure])
    return measure_probability(metric, rows.take(sure), chance[sure])
