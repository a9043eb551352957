"""What metrics there are: one record each, and this is where one is added.

Rules that hold for all of them:

* Candidates with equal scores count as being in random order: a metric is its expectation over
  all orders of the ties. A ranker that gives every candidate the same score gets exactly what a
  random order gets on average, however the rows are sorted.
* A row's weight counts as that many rows in ``auc``, ``gauc``, ``wauc``, ``log_loss``, ``brier``
  and ``ece``; ``smooth_ece`` takes equal weights only. In the metrics of one list (unit
  ``requests``) a request counts with the mean weight of its candidates, and weights inside the
  list are not used.
* What is undefined is left out and counted, never given a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ECE_BINS = 10


@dataclass(frozen=True, slots=True)
class MetricKind:
    """A metric without its cut-off.

    Attributes:
        name: as ir_measures writes it, in lower case: ``ndcg`` of ``ndcg@10``.
        short: what it says in a few plain words, as a page puts it after the name.
        meaning: what exactly it is, what its ties give and what leaves it undefined.
        source: who defined it, and which library computes the same.
        needs: scores only order candidates; probabilities are P(relevant), which a ranker may not
            offer.
        unit: what it is a mean over, and what is left out where it is undefined.
        function: its module and name in `promptrank.evaluation.measures`. It is a text because task
            files are checked without loading numpy.
        cutoff: whether ``@k`` follows the name.
        lower_is_better: whether the smaller value is the better one.
        library: what computes it and is not always installed: module and extra; empty for none.
        largest: no value is above it; None where there is no such bound. None is below 0.
    """

    name: str
    short: str
    meaning: str
    source: str
    needs: Literal["scores", "probabilities"]
    unit: Literal["candidates", "subjects", "domains", "requests"]
    function: str
    cutoff: Literal["never", "may", "must"] = "never"
    lower_is_better: bool = False
    library: tuple[str, str] | tuple[()] = ()
    largest: float | None = 1.0


_KINDS = (
    MetricKind(
        "auc",
        "how often a relevant candidate scores above one that is not; .5 is chance",
        "Probability that a relevant candidate scores above one that is not, over all pairs of "
        "rows; a tie counts one half. Undefined where labels are all alike.",
        "Mann-Whitney U; sklearn's roc_auc_score",
        "scores",
        "candidates",
        "pairs.auc",
    ),
    MetricKind(
        "gauc",
        "the same within each subject, so that only the order of one list counts",
        "AUC within each subject, averaged with the subject's impressions (its sum of row weights) "
        "as weight. Subjects whose labels are all alike are left out.",
        "Zhu et al. 2017, arXiv:1703.02091; Zhou et al. 2018, arXiv:1706.06978",
        "scores",
        "subjects",
        "pairs.gauc",
    ),
    MetricKind(
        "wauc",
        "the same within each domain, averaged",
        "AUC within each domain, averaged with the domain's impressions (its sum of row weights) "
        "as weight. A row's domain is its request's `meta.domain`; requests that name none are one "
        "domain, and over one domain it is `auc`. Domains whose labels are all alike are left out.",
        "the sample-weighted mean of AUC by domain, as MLoRA reports it: Yang et al. 2024, "
        "arXiv:2408.08913",
        "scores",
        "domains",
        "pairs.wauc",
    ),
    MetricKind(
        "ndcg",
        "how good the first places are, as a share of the best possible order",
        "DCG of the first k over the best possible DCG; gain is the label's value as it is "
        "(declare 2^g - 1 as values for the exponential form), discount 1 / log2(rank + 1). "
        "Requests whose values are all equal are left out; a value below 0 makes it undefined.",
        "Jarvelin and Kekalainen 2002; ties: McSherry and Najork 2008; linear gains as in "
        "trec_eval and sklearn's ndcg_score",
        "scores",
        "requests",
        "lists.ndcg",
        "must",
    ),
    MetricKind(
        "mrr",
        "one over the place of the first relevant candidate",
        "One over the rank of the first relevant candidate, 0 beyond the cut-off. Requests without "
        "a relevant candidate are left out.",
        "trec_eval's recip_rank",
        "scores",
        "requests",
        "lists.mrr",
        "may",
    ),
    MetricKind(
        "map",
        "precision at the place of each relevant candidate, averaged",
        "Precision at the rank of each relevant candidate, 0 beyond the cut-off, averaged over all "
        "relevant candidates of the request. Requests without one are left out.",
        "trec_eval's map and map_cut; ties: McSherry and Najork 2008",
        "scores",
        "requests",
        "lists.average_precision",
        "may",
    ),
    MetricKind(
        "recall",
        "the share of the relevant candidates that stand in the first places",
        "Share of the relevant candidates that stand in the first k. It is 1 where a request has "
        "at most k candidates. Requests without a relevant candidate are left out.",
        "trec_eval's recall",
        "scores",
        "requests",
        "lists.recall",
        "must",
    ),
    MetricKind(
        "precision",
        "the share of the first places that relevant candidates hold",
        "Relevant candidates in the first k, over k, even where a request has fewer candidates. No "
        "request is left out: one without a relevant candidate counts 0.",
        "trec_eval's P",
        "scores",
        "requests",
        "lists.precision",
        "must",
    ),
    MetricKind(
        "hit",
        "how often a relevant candidate stands in the first places",
        "Share of requests with a relevant candidate in the first k (with ties, the chance of "
        "one). Requests without a relevant candidate are left out.",
        "trec_eval's success; hit rate",
        "scores",
        "requests",
        "lists.hit",
        "must",
    ),
    MetricKind(
        "log_loss",
        "how wrong the probabilities are; less is better",
        "Mean of -ln P(what happened); probabilities are kept 2.2e-16 away from 0 and 1.",
        "sklearn's log_loss",
        "probabilities",
        "candidates",
        "chances.log_loss",
        lower_is_better=True,
        largest=None,
    ),
    MetricKind(
        "brier",
        "squared distance of probabilities from what happened; less is better",
        "Mean squared difference of P(relevant) and what happened (1 or 0).",
        "Brier 1950; sklearn's brier_score_loss",
        "probabilities",
        "candidates",
        "chances.brier",
        lower_is_better=True,
    ),
    MetricKind(
        "ece",
        "how far probabilities are from what happened; less is better",
        f"Mean |P(relevant) - observed share| over {ECE_BINS} bins of equal mass, weighted by "
        "mass, less what noise alone adds: the calibration error under which the observed one "
        "would be exceeded half of the time. Equal probabilities share a bin.",
        "expected calibration error with adaptive bins: Nixon et al. 2019, arXiv:1904.01685; its "
        "bias: Roelofs et al. 2022, arXiv:2012.08668",
        "probabilities",
        "candidates",
        "calibration_error.ece",
        lower_is_better=True,
    ),
    MetricKind(
        "smooth_ece",
        "the same by a smoothed curve in place of bins; less is better",
        "Mean |P(relevant) - outcome| after smoothing by a Gaussian kernel as wide as the error "
        "itself. Noise is in it, so that a calibrated ranker of few rows does not reach 0, and it "
        "has no interval: each draw would add the noise once more.",
        "Blasiok and Nakkiran 2024, arXiv:2309.12236; relplot's smECE, which is what computes it",
        "probabilities",
        "candidates",
        "smooth_calibration.smooth_ece",
        lower_is_better=True,
        library=("relplot", "calibration"),
    ),
)

KINDS: Mapping[str, MetricKind] = {kind.name: kind for kind in _KINDS}
"""Name without cut-off -> its record."""
