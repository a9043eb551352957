"""Many comparisons at once: how much wider their intervals have to be, and what they could show.

Whoever looks at ten differences will find one whose own 95% interval leaves out 0 by luck alone.
The single-step max-t method (Westfall and Young 1993, section 2.3; Hothorn, Bretz and Westfall
2008, Biometrical Journal 50:346) keeps the chance of any such error at 5%. It takes the
distribution of the largest |t| of all comparisons from the same draws of subjects, so that rankers
who err alike cost less than by Bonferroni or Holm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import LEVEL

POWER = 0.8
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Correction:
    """What one comparison of a family needs beyond its own interval.

    Attributes:
        widening: how far each end of its interval moves out; 0 where it is the only one.
        detectable: the smallest true difference that such data shows with probability `POWER`;
            None from fewer than two draws.
    """

    widening: float
    detectable: float | None


def corrections(draws: Sequence[Floats], level: float = LEVEL) -> list[Correction]:
    """One correction for each comparison of a family.

    With t = |draw - mean of draws| / standard error, c is the ``level`` quantile of the largest t
    over the family, and c1 that of the comparison's own t. The ends of an interval move out by
    (c - c1) standard errors: for normal draws that is value +- c standard errors, while a skewed
    percentile interval keeps its skew, and the interval of a lone comparison stays as it is.

    The smallest difference is (z + c - c1 + .842) standard errors, with z = 1.960: 2.80 for a lone
    comparison (Bloom 1995, Evaluation Review 19:547: the minimum detectable effect at 80% power
    and two-sided 5%), and more where what marks a difference is a corrected interval.

    Args:
        draws: for each comparison (draws,) of its paired difference, from the same draws of
            subjects; NaN where it is undefined.
    """
    if not draws or len(draws[0]) < 2:
        return [Correction(0.0, None) for _ in draws]
    table = np.column_stack(list(draws))  # (draws, comparisons)
    errors = np.nanstd(table, axis=0, ddof=1)
    away = np.abs(table - np.nanmean(table, axis=0))
    t = np.divide(away, errors, out=np.zeros_like(away), where=errors > 0)
    largest = np.fmax.reduce(t, axis=1)
    joint = float(np.nanquantile(largest, level))
    both_sides = _NORMAL.inv_cdf((1 + level) / 2)
    made = []
    for error, own in zip(errors, np.nanquantile(t, level, axis=0), strict=True):
        more = max(0.0, joint - float(own)) if error > 0 else 0.0
        least = (both_sides + more + _NORMAL.inv_cdf(POWER)) * float(error)
        made.append(Correction(more * float(error), least))
    return made
