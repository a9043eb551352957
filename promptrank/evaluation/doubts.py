"""Which labels rankers doubt, and on which of them they agree.

A ranker with probabilities doubts labels as confident learning does (Northcutt, Jiang and Chuang,
"Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70, 2021). With p_k the
probability of answer k and t_k its mean over the candidates labelled k, a candidate labelled y is
doubted where, among the answers with p_k >= t_k, the likeliest is not y (their confident joint, off
its diagonal). Labels are ordered by the normalised margin of p less t,
``(p_y - t_y) - max over k != y of (p_k - t_k)``, lowest first; taking t off is the adjustment for
unequal classes of Kuan and Mueller ("Model-agnostic label quality scoring to detect real-world
label errors", ICML DataPerf workshop, 2022).

A ranker with scores alone is read by its order: a label's place is the share of the candidates with
other labels that stand on the right side of it, ties counting half. That is the candidate's term of
AUC (placement value: DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988). Below one half it is
doubted. Scores count as they are, or less their request's mean, whichever orders labels better:
not every ranker's scores compare across requests.

Rankers are combined by the mean of a label's ranks, each as a share of the labels that the ranker
has an opinion of, so that no scale counts for more. A ranker weighs ``2 a - 1``, with ``a`` the
mean place of all labels, its AUC, which is .5 by chance: one that orders no better has no say
(models weigh by what they are worth beyond chance in CROWDLAB too: Goh, Tkachenko and Mueller,
"CROWDLAB: Supervised learning to infer consensus labels", 2022). Listed is what more than half of
the weight doubts, and two rankers at least where two have an opinion. Confident learning wants
probabilities of labels that were not trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats

MOST = 200
"""So many labels go into a file at most: what a person reviews in an hour or two."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one ranker says of labels; arrays are (labels,).

    Attributes:
        says: the probability of the label as it is, or its place; NaN without an opinion.
        order: what labels are ordered by, the most doubtful lowest; NaN without an opinion.
        doubts: whether it doubts the label.
        probability: whether ``says`` is a probability, and not a place.
        weight: of its say, 0 to 1.
    """

    name: str
    says: Floats
    order: Floats
    doubts: Flags
    probability: bool
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """A label that most of the rankers' weight doubts.

    Attributes:
        row: of the label.
        doubted_by, rankers: how many doubt it, of those that have an opinion of it.
        mean_rank: 0 to 1, of those rankers by their weights; low is doubtful.
    """

    row: int
    doubted_by: int
    rankers: int
    mean_rank: float


def by_probability(name: str, chances: Floats, labels: Codes, weight: float = 1.0) -> Opinion:
    """The opinion of a ranker with probabilities.

    Args:
        chances: (labels, answers) probabilities; a row with NaN is no opinion.
        labels: (labels,) place of the label among the answers.
        weight: of its say, such as that of its order.
    """
    rows, answers = chances.shape
    known = ~np.isnan(chances).any(axis=1)
    usual = np.full(answers, np.inf)  # an answer that no label has is never the confident one
    for answer in range(answers):
        own = known & (labels == answer)
        if own.any():
            usual[answer] = chances[own, answer].mean()
    confident = np.where(chances >= usual, chances, -np.inf)
    likeliest = confident.argmax(axis=1)
    doubts = known & np.isfinite(confident.max(axis=1, initial=-np.inf)) & (likeliest != labels)
    beyond = chances - usual
    at = np.arange(rows)
    own = beyond[at, labels]
    beyond[at, labels] = -np.inf
    with np.errstate(invalid="ignore"):
        order = own - beyond.max(axis=1)
    # Where all labels are alike there is no other answer to be surer of.
    order = np.where(known & np.isfinite(order), order, np.nan)
    says = np.where(known, chances[at, labels], np.nan)
    return Opinion(name, says, order, doubts, True, weight)


def by_place(name: str, scores: Floats, values: Floats, requests: Codes) -> Opinion:
    """The opinion of a ranker with scores alone.

    Args:
        scores: (labels,); NaN is no opinion.
        values: (labels,) worth of the label.
        requests: (labels,) code of each label's request.
    """
    known = ~np.isnan(scores)
    count = np.bincount(requests, weights=known)
    total = np.bincount(requests, weights=np.where(known, scores, 0.0))
    centred = scores - (total / np.maximum(count, 1))[requests]
    forms = [_places(form, values) for form in (scores, centred)]
    weights = [_weight(places) for places in forms]
    places, weight = forms[weights[1] > weights[0]], max(weights)
    with np.errstate(invalid="ignore"):
        doubts = places < 0.5
    return Opinion(name, places, places, doubts, False, weight)


def _places(scores: Floats, values: Floats) -> Floats:
    """(labels,) places; NaN without a score, or where nothing has another label."""
    known = ~np.isnan(scores)
    right, others = np.zeros(len(scores)), np.zeros(len(scores))
    for value in np.unique(values[known]):
        there = np.sort(scores[known & (values == value)])
        rows = known & (values != value)
        below = np.searchsorted(there, scores[rows], "left")
        upto = np.searchsorted(there, scores[rows], "right")
        lower = (below + upto) / 2  # of this value, those that stand below
        right[rows] += np.where(values[rows] > value, lower, len(there) - lower)
        others[rows] += len(there)
    return np.where(others > 0, right / np.maximum(others, 1), np.nan)


def _weight(places: Floats) -> float:
    known = places[~np.isnan(places)]
    return max(0.0, 2 * float(known.mean()) - 1) if len(known) else 0.0


def agreed(opinions: Sequence[Opinion]) -> list[Doubt]:
    """The labels that rankers agree to doubt, the most doubtful first."""
    from scipy.stats import rankdata

    heard = [each for each in opinions if each.weight > 0]
    if not heard:
        return []
    orders = np.column_stack([each.order for each in heard])
    known = ~np.isnan(orders)
    ranks = rankdata(orders, axis=0, nan_policy="omit") / np.maximum(known.sum(axis=0), 1)
    doubts = np.column_stack([each.doubts for each in heard]) & known
    weights = known * np.array([each.weight for each in heard])
    total = weights.sum(axis=1)
    mean = (weights * np.where(known, ranks, 0.0)).sum(axis=1) / np.where(total > 0, total, 1.0)
    several = doubts.sum(axis=1) >= np.minimum(known.sum(axis=1), 2)
    rows = np.flatnonzero((2 * (weights * doubts).sum(axis=1) > total) & several)
    rows = rows[np.argsort(mean[rows], kind="stable")]
    return [Doubt(int(r), int(doubts[r].sum()), int(known[r].sum()), float(mean[r])) for r in rows]
