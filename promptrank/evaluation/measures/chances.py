"""Metrics of P(relevant), a value for each row."""

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.measures.measurable import Measured, Rows, ratio, sums


def log_loss(rows: Rows, probability: Floats) -> Measured:
    """Mean of -ln P(what happened)."""
    edge = np.finfo(np.float64).eps
    kept = np.clip(probability, edge, 1 - edge)
    return _mean(rows, -np.where(rows.relevant, np.log(kept), np.log1p(-kept)))


def brier(rows: Rows, probability: Floats) -> Measured:
    """Mean squared difference of P(relevant) and what happened."""
    return _mean(rows, (probability - rows.relevant) ** 2)


def _mean(rows: Rows, loss: Floats) -> Measured:
    total = sums(rows.subject, loss * rows.weight, rows.num_subjects)
    mass = sums(rows.subject, rows.weight, rows.num_subjects)
    return Measured(ratio(total, mass), "candidates", len(loss))
