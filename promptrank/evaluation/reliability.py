"""The reliability curve: what a ranker says is relevant beside the share that is."""

from collections.abc import Mapping

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import interval
from promptrank.evaluation.measure import Measured, Rows
from promptrank.evaluation.measures.calibration_error import reliability
from promptrank.evaluation.measures.measurable import ratio, sums
from promptrank.evaluation.report_rows import Calibration, ReliabilityBin

Key = tuple[str, str]  # ranker, and a bin's name

_PREDICTED, _OBSERVED, _GAP = "mean P(relevant)", "share relevant", "calibration gap"


def curves(rows: Rows, chances: Mapping[str, Floats]) -> dict[Key, tuple[float, Measured]]:
    """Per ranker and bin the mean P(relevant), and the share that is relevant, to be drawn.

    Args:
        rows: on which every ranker has a probability.
        chances: ranker -> P(relevant) of those rows.
    """
    if not rows.weight.any():
        return {}
    return {
        (name, f"reliability {place}"): (said, Measured(share, "candidates", count))
        for name, chance in chances.items()
        for place, (said, count, share) in enumerate(reliability(rows, chance))
    }


def bins_of_ranker(
    name: str,
    made: Mapping[Key, tuple[float, Measured]],
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> tuple[ReliabilityBin, ...]:
    """A ranker's bins, by P(relevant) upwards."""
    bins = []
    for key, (said, measured) in made.items():
        if key[0] != name:
            continue
        ends = interval(drawn.get(key, np.empty(0)))
        low, high = (None, None) if ends is None else (ends.low, ends.high)
        bins.append(ReliabilityBin(said, values[key], low, high, measured.used))
    return tuple(bins)


def calibration_gap(rows: Rows, chance: Floats) -> Measured:
    """Mean P(relevant) less the share that is relevant."""
    return _mean(rows, chance - rows.relevant)


def calibrations(rows: Rows, chances: Mapping[str, Floats]) -> dict[Key, Measured]:
    """Per ranker what its probabilities say on the whole, what happened, and the gap; to be drawn.

    Args:
        rows, chances: as of `curves`.
    """
    if not rows.weight.any():
        return {}
    made = dict[Key, Measured]()
    for name, chance in chances.items():
        made[name, _PREDICTED] = _mean(rows, chance)
        made[name, _OBSERVED] = _mean(rows, rows.relevant.astype(np.float64))
        made[name, _GAP] = calibration_gap(rows, chance)
    return made


def calibration_of_ranker(
    name: str, values: Mapping[Key, float], drawn: Mapping[Key, Floats]
) -> Calibration | None:
    """A ranker's calibration; None where it offers no probabilities."""
    if (name, _GAP) not in values:
        return None
    ends = interval(drawn.get((name, _GAP), np.empty(0)))
    low, high = (None, None) if ends is None else (ends.low, ends.high)
    return Calibration(values[name, _PREDICTED], values[name, _OBSERVED], low, high)


def _mean(rows: Rows, numbers: Floats) -> Measured:
    total = sums(rows.subject, numbers * rows.weight, rows.num_subjects)
    mass = sums(rows.subject, rows.weight, rows.num_subjects)
    return Measured(ratio(total, mass), "candidates", len(numbers))
