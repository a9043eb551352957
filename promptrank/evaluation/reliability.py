"""The reliability curve: what a ranker says is relevant beside the share that is."""

from collections.abc import Mapping

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import interval
from promptrank.evaluation.measure import Measured, Rows
from promptrank.evaluation.measures.calibration_error import reliability
from promptrank.evaluation.report_rows import ReliabilityBin

Key = tuple[str, str]  # ranker, and a bin's name


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
