"""What share of a ranker's lift over chance is left in a control."""

from collections.abc import Mapping, Sequence

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import interval
from promptrank.evaluation.metrics import Metric
from promptrank.evaluation.report_rows import Survival

CHANCE = "random"

Key = tuple[str, str]  # ranker, metric


def survival_of(
    metrics: Sequence[Metric],
    name: str,
    against: str,
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> Survival | None:
    """(control - random) / (ranker - random) on the first metric that all three have.

    A share of almost nothing can be any number: where the interval of the ranker's own lift does
    not lie above 0, there is none. Both lifts are taken within a draw of subjects.

    Args:
        name, against: the control, and the ranker itself.
        values, drawn: of (ranker, metric): its value, and (draws,) of them.
    """
    every = (name, against, CHANCE)
    metric = next((m for m in metrics if all((who, m.name) in values for who in every)), None)
    if metric is None:
        return None
    left, whole, chance = (values[who, metric.name] for who in every)
    draws = [drawn.get((who, metric.name)) for who in every]
    if any(each is None for each in draws):
        reason = f"one subject, or no draws: whether {against} has a lift is not known"
        return Survival(name, against, metric.name, None, reason=reason)
    left_draws, whole_draws, chance_draws = (np.asarray(each) for each in draws)
    sign = -1 if metric.lower_is_better else 1
    ends = interval(sign * (whole_draws - chance_draws))
    if ends is None or ends.low <= 0:
        reason = f"the lift of {against} over chance is not clear of 0, so no share of it survives"
        return Survival(name, against, metric.name, None, reason=reason)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (left_draws - chance_draws) / (whole_draws - chance_draws)
    shares[~np.isfinite(shares)] = np.nan
    ends = interval(shares)
    share = (left - chance) / (whole - chance)
    if ends is None:
        return Survival(name, against, metric.name, share)
    return Survival(name, against, metric.name, share, ends.low, ends.high)
