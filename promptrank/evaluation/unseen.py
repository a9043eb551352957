"""What few subjects cannot show: kinds of subjects that are among all, and not among these.

A bootstrap draws what it has. Of 60 subjects who all hit, every draw hits; where two rankers differ
for four subjects of 60, no draw knows a fifth way to differ. Where that matters, draws get subjects
more, of a weight that is drawn from the gamma distribution of shape 1/2 in units of the subjects'
mean weight: next to a Bayesian bootstrap these are Jeffreys' prior for a share (Brown, Cai and
DasGupta 2001, doi:10.1214/ss/1009213286), and the pseudo-pairs of Agresti and Min 2005
(doi:10.1002/sim.1781) for a difference. Among thousands of subjects they change nothing.
"""

import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.measure import Estimate, Sums

_SHAPE = 0.5


def with_unseen(linear: Sequence[Sums], draws: int, seed: int) -> Floats | None:
    """Two subjects more for each draw of a share, one with all hits and one with none.

    Without them the interval of 60 hits is a point, and misses a truth of .97 whenever that
    happens: 16 times in 100. Each estimate has draws of its own, because two rankers who hit alike
    here may differ elsewhere; only one that two rankers share, since they order everything alike,
    is drawn once.

    Returns:
        (draws, columns of all), 0 where nothing is added; None where there are no shares.
    """
    if not any(each.shares for each in linear):
        return None
    parts = []
    seen = Counter[int]()
    for each in linear:
        part = np.zeros((draws, each.columns.shape[1]))
        if each.shares:
            weight = each.columns[:, 1]
            # By what it is and not by where it stands, so that other rankers change no interval.
            key = _key(each)
            generator = np.random.default_rng([seed, key, seen[key]])
            seen[key] += 1
            all_hit, none = weight[weight > 0].mean() * generator.gamma(_SHAPE, size=(2, draws))
            part[:, 0], part[:, 1] = all_hit, all_hit + none
        parts.append(part)
    return np.concatenate(parts, axis=1)


def unseen_difference(one: Estimate | None, other: Estimate | None, draws: int) -> Floats | float:
    """Two subjects more for each draw of a difference of means, one in favour of either ranker.

    They differ by the root mean square of those differences that are not 0 (by 1, the most there
    is, where all are): so they count for much where few subjects differ, and for little where many
    do. Differences of shares have theirs already, and other metrics than means none.

    Returns:
        (draws,) to add, or 0.
    """
    if one is other or not (isinstance(one, Sums) and isinstance(other, Sums)):
        return 0.0
    if not (one.mean and other.mean) or one.shares or other.shares:
        return 0.0
    weight = one.columns[:, 1]
    if not np.array_equal(weight, other.columns[:, 1]):
        return 0.0
    used = weight > 0
    apart = (one.columns[used, 0] - other.columns[used, 0]) / weight[used]
    differ = apart[apart != 0]
    size = float(np.sqrt((differ**2).mean())) if len(differ) else 1.0
    keys = [_key(one), _key(other)]
    for_one, for_other = np.random.default_rng(sorted(keys)).gamma(_SHAPE, size=(2, draws))
    signed: Floats = (for_one - for_other) * (size / used.sum() * (1 if keys[0] <= keys[1] else -1))
    return signed


def _key(estimate: Sums) -> int:
    """What an estimate's own draws are seeded by; the last digits are the processor's."""
    return zlib.crc32((estimate.columns.round(9) + 0.0).tobytes())
