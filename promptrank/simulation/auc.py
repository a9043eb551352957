"""The AUC that scores have against chances rather than labels."""

from typing import Any

import numpy as np


def expected_auc(scores: Any, chances: Any) -> float | None:
    """AUC of ``scores`` where row i is positive with probability ``chances[i]``, independently.

    The share of (positive, negative) pairs of different rows in the right order, ties half:

        sum_{i != j} p_i (1 - p_j) [s_i > s_j] / sum_{i != j} p_i (1 - p_j)

    A ratio of expected counts; with chances of 0 and 1 it is the AUC of labels. Scores equal to
    the chances give the best that any ranker with the same knowledge can expect.

    Args:
        scores: (n,); higher is better.
        chances: (n,), or labels 0 and 1.

    Returns:
        None where there are no pairs.
    """
    s, p = np.asarray(scores, np.float64), np.asarray(chances, np.float64)
    if not len(s):
        return None
    _, group = np.unique(s, return_inverse=True)
    positive = np.bincount(group, p)
    negative = np.bincount(group, 1 - p)
    below = np.cumsum(negative) - negative
    own = p @ (1 - p)
    wins = float(positive @ (below + negative / 2) - own / 2)
    pairs = float(p.sum() * (1 - p).sum() - own)
    return wins / pairs if pairs > 1e-12 else None
