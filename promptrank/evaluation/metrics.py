"""What each metric means.

Names are written as ir_measures writes them, in lower case: ``auc``, ``gauc``, ``ndcg@10``,
``mrr``, ``mrr@10``, ``recall@10``, ``log_loss``, ``ece``. `promptrank.schema.metric_names` knows
which names there are, `promptrank.evaluation.measure` computes; this module loads nothing heavy.

Rules that hold for all of them:

* Candidates with equal scores count as being in random order: a metric is its expectation over
  all orders of the ties. A ranker that gives every candidate the same score gets exactly what a
  random order gets on average, however the rows are sorted.
* A row's weight counts as that many rows in ``auc``, ``gauc``, ``log_loss`` and ``ece``. In the
  metrics of one list (``ndcg``, ``mrr``, ``recall``) a request counts with the mean weight of its
  candidates, and weights inside the list are not used.
* What is undefined is left out and counted, never given a value.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from promptrank.errors import InputError
from promptrank.schema.metric_names import check_metrics, parse_metric

ECE_BINS = 10

MEANING = {
    "auc": "Probability that a relevant candidate scores above one that is not, over all pairs of "
    "rows; a tie counts one half (Mann-Whitney U; equals sklearn's roc_auc_score).",
    "gauc": "AUC within each subject, averaged with the subject's impressions (its sum of row "
    "weights) as weight (Zhu et al. 2017, arXiv:1703.02091; Zhou et al. 2018, arXiv:1706.06978). "
    "Subjects whose labels are all alike are left out.",
    "ndcg": "DCG over the best possible DCG, mean over requests; gain is the label's value as it "
    "is (linear, as in trec_eval and sklearn's ndcg_score; declare 2^g - 1 as values for the "
    "exponential form), discount 1 / log2(rank + 1) (Jarvelin and Kekalainen 2002; ties: McSherry "
    "and Najork 2008). Requests whose values are all equal are left out; a value below 0 makes "
    "it undefined.",
    "mrr": "One over the rank of the first relevant candidate (0 beyond the cut-off), mean over "
    "requests with a relevant candidate.",
    "recall": "Share of the relevant candidates that stand in the first k, mean over requests "
    "with a relevant candidate. It is 1 where a request has at most k candidates.",
    "log_loss": "Mean of -ln P(what happened) over rows, for rankers that offer P(relevant); "
    "probabilities are kept 2.2e-16 away from 0 and 1, as in sklearn.",
    "ece": f"Mean |P(relevant) - observed share| over {ECE_BINS} bins of equal mass, weighted by "
    "mass (expected calibration error; adaptive bins: Nixon et al. 2019, arXiv:1904.01685). Equal "
    "probabilities share a bin. It counts noise as error, so few rows make it larger.",
}
"""Base name -> definition and source, one paragraph each, for reports and help."""

LOWER_IS_BETTER = frozenset({"log_loss", "ece"})
NEEDS_PROBABILITY = frozenset({"log_loss", "ece"})


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name taken apart: ``ndcg@10`` is base ``ndcg`` with cut-off 10."""

    name: str
    base: str
    cutoff: int | None

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller value is the better one."""
        return self.base in LOWER_IS_BETTER

    @property
    def needs_probability(self) -> bool:
        """Whether it is computed from P(relevant), not from scores."""
        return self.base in NEEDS_PROBABILITY


def parse_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of these names, each once; one `InputError` lists every bad name."""
    unique = tuple(dict.fromkeys(names))
    try:
        check_metrics(unique)
    except ValueError as error:
        raise InputError(f"metrics: {error}") from error
    if not unique:
        raise InputError("metrics: none is named; name one, such as auc")
    return tuple(Metric(name, *parse_metric(name)) for name in unique)
