"""Smooth calibration error, by the library of those who defined it."""

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.measures.measurable import Measured, Rows


def smooth_ece(rows: Rows, probability: Floats) -> Measured:
    """A value without draws: noise makes it too large, and a draw would have the noise twice."""
    from relplot.metrics import smECE

    if np.ptp(rows.weight):
        reason = "rows have different weights, and relplot takes none"
        return Measured(None, "candidates", reason=reason)
    value = float(smECE(probability, rows.relevant.astype(np.float64)))
    reason = "a draw would have the noise twice"
    return Measured(_undrawn, "candidates", len(probability), reason=reason, value=value)


def _undrawn(times: Floats) -> Floats:
    return np.full(len(times), np.nan)
