"""Off-policy estimates: what a ranker would have earned on a log that another ranker made.

**The policy of a ranker** is greedy: it shows a request's candidates in the order of their scores,
and candidates with equal scores in every order alike. It places candidate c at position k with

    pi(c at k) = [c's scores reach k] / (number of candidates with c's score)

that is 1 or 0 where no scores are equal. **A place's reward** is taken to depend on the request,
the candidate there and the position, and not on what stands elsewhere: the item-position model of
Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen 2018, "Offline evaluation of ranking
policies with click models" (arXiv:1804.10488). A log that shows one of many candidates, with the
probability of that choice, is the same with one place a request (a contextual bandit).

With w = pi(c at k) / p for a logged place (p its propensity), r its reward and q a reward model,
in gain per request over n requests with m logged places:

    ips    sum w r / n                                      Horvitz and Thompson 1952
    snips  (sum w r / sum w) (m / n)                        Swaminathan and Joachims 2015
    dr     sum [ sum_c pi(c at k) q(c, k) + w (r - q) ] / n Dudik, Langford and Li 2011

The mean of w is 1 but for chance where p is what the log did, and where the log could have shown
whatever the ranker would: a check that needs no label. Intervals draw whole subjects, as all others
do; the reward model is fitted once, not in every draw. Weights of candidates do not count here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import DRAWS, interval, spread, subject_draws
from promptrank.evaluation.labelled import Label
from promptrank.evaluation.logged_places import LoggedPlaces, logged_places
from promptrank.evaluation.measure import rank_rows
from promptrank.evaluation.off_policy_rows import Amount, OffPolicy, PolicyRow
from promptrank.evaluation.reward_model import Predicted, RewardColumns, expected_rewards
from promptrank.evaluation.simultaneous import corrections
from promptrank.records import Request
from promptrank.scores.scores import Scores

FEW_EFFECTIVE = 100
"""Below this effective sample size a row is told as not to be believed."""
FAR = 2.0
"""A mean weight is told where 1 is further from it than this many times its interval's end."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy does at the logged places.

    Attributes:
        chance: (places,) probability that it puts the place's candidate there.
        expected: (places,) what it would earn there by the reward model; None without one.
    """

    chance: Floats
    expected: Floats | None = None


def off_policy(
    requests: Iterable[Request],
    scores: Mapping[str, Scores],
    gain_of: Label,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    clip: float | None = None,
) -> OffPolicy | str | None:
    """Estimates of every ranker on the requests of a log, which are read once.

    None where no candidate has a propensity; a text says why there can be no estimates.

    Args:
        scores: ranker -> its scores; requests that some ranker did not score whole are left out,
            and so is a ranker that scores fewer than half of them whole, with a note.
        gain_of: a candidate's reward; None where it has no label.
        clip: weights above it count as it.
    """
    columns = RewardColumns()
    read = logged_places(requests, scores, gain_of, columns.add)
    if read is None or isinstance(read, str):
        return read
    places, theirs, keep = read
    predicted = expected_rewards(columns.matrix(keep), places)
    policies = {name: greedy(places, values, predicted) for name, values in theirs.items()}
    made = estimate(places, policies, predicted, draws=draws, seed=seed, clip=clip)
    if without := [name for name in scores if name not in theirs]:
        note = (
            f"off-policy: {', '.join(without)} left out: no score of every candidate in more than "
            "half of the requests"
        )
        made = replace(made, notes=(*made.notes, note))
    return made


def greedy(places: LoggedPlaces, scores: Floats, predicted: Predicted | None = None) -> Policy:
    """The policy that shows candidates by their scores (candidates,), equal ones in any order.

    A place beyond the number of candidates is one that it leaves empty.
    """
    ranked = rank_rows(places.request, scores)
    tie = np.empty(len(scores), dtype=np.int64)
    tie[ranked.order] = ranked.tie
    size = np.bincount(ranked.tie)
    count = np.bincount(places.request)
    first = np.cumsum(count) - count
    request = places.place_request
    filled = places.position <= count[request]
    slot = np.where(filled, first[request] + places.position - 1, first[request])
    there = ranked.tie[slot]
    chance = filled * (tie[places.row] == there) / size[there]
    if predicted is None:
        return Policy(chance)
    mean = ranked.tie_mean(predicted.candidate[ranked.order])
    return Policy(chance, filled * (mean[slot] + predicted.place))


def estimate(
    places: LoggedPlaces,
    policies: Mapping[str, Policy],
    predicted: Predicted | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    clip: float | None = None,
) -> OffPolicy:
    """The report of policies on logged places.

    Args:
        predicted: of the logged places; needed where policies have ``expected``.
    """
    logged = predicted.candidate[places.row] + predicted.place if predicted is not None else None
    owner, count = places.place_subject, len(places.subject_ids)
    sums = [
        np.bincount(places.subject, minlength=count),
        np.bincount(owner, minlength=count),
        np.bincount(owner, places.reward, count),
    ]
    weights = {name: policy.chance / places.propensity for name, policy in policies.items()}
    for name, policy in policies.items():
        used = np.minimum(weights[name], np.inf if clip is None else clip)
        robust = np.zeros(len(used))
        if policy.expected is not None and logged is not None:
            robust = policy.expected + used * (places.reward - logged)
        for values in (used, used * places.reward, robust, weights[name]):
            sums.append(np.bincount(owner, values, count))
    parts = np.column_stack(sums)
    whole = parts.sum(axis=0, keepdims=True)
    drawn = np.zeros((0, parts.shape[1]))
    if draws and count > 1:
        drawn = np.concatenate([times @ parts for times in subject_draws(count, draws, seed)])
    earned = _amount(lambda s: s[:, 2] / s[:, 0], whole, drawn, count)
    made = [
        _row(name, policy, weights[name], whole, drawn, count, 3 + 4 * i, clip)
        for i, (name, policy) in enumerate(policies.items())
    ]
    rows = _corrected([row for row, _ in made], [lift for _, lift in made])
    return OffPolicy(
        earned,
        rows,
        count,
        len(places.subject),
        len(places.row),
        places.left_out,
        clip,
        tuple(_notes(rows)),
    )


def _row(
    name: str,
    policy: Policy,
    weight: Floats,
    whole: Floats,
    drawn: Floats,
    subjects: int,
    at: int,
    clip: float | None,
) -> tuple[PolicyRow, Floats]:
    """A ranker's row, and the draws (draws,) of its lift."""
    used = np.minimum(weight, np.inf if clip is None else clip)
    squares = float((used**2).sum())

    def ips(s: Floats) -> Floats:
        return np.asarray(s[:, at + 1] / s[:, 0])

    def snips(s: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(s[:, at + 1] / s[:, at] * s[:, 1] / s[:, 0])

    def dr(s: Floats) -> Floats:
        return np.asarray(s[:, at + 2] / s[:, 0])

    best = dr if policy.expected is not None else snips
    known = policy.expected is not None or squares > 0

    def lift(s: Floats) -> Floats:
        return np.asarray(best(s) - s[:, 2] / s[:, 0])

    row = PolicyRow(
        name,
        _amount(ips, whole, drawn, subjects),
        _amount(snips, whole, drawn, subjects) if squares > 0 else None,
        _amount(dr, whole, drawn, subjects) if policy.expected is not None else None,
        _amount(lift, whole, drawn, subjects) if known else None,
        float(used.sum()) ** 2 / squares if squares > 0 else 0.0,
        int((weight > 0).sum()),
        _amount(lambda s: s[:, at + 3] / s[:, 1], whole, drawn, subjects),
        float(weight.max()),
        int((weight > used).sum()),
    )
    return row, lift(drawn)


def _corrected(rows: Sequence[PolicyRow], lifts: Sequence[Floats]) -> tuple[PolicyRow, ...]:
    """Lifts over the log as one family, as differences of metrics are: the best of many rankers is
    also the luckiest."""
    family = [i for i, row in enumerate(rows) if row.lift is not None and row.lift.low is not None]
    made = list(rows)
    more = corrections([lifts[i] for i in family])
    for i, correction in zip(family, more, strict=True):
        lift = rows[i].lift
        assert lift is not None and lift.low is not None and lift.high is not None
        by = correction.widening
        made[i] = replace(rows[i], lift=Amount(lift.value, lift.low - by, lift.high + by))
    return tuple(made)


def _amount(of: Callable[[Floats], Floats], whole: Floats, drawn: Floats, subjects: int) -> Amount:
    value = float(of(whole)[0])
    ends = interval(spread(of(drawn)[:, None], subjects)[:, 0]) if len(drawn) else None
    return Amount(value) if ends is None else Amount(value, ends.low, ends.high)


def _notes(rows: Iterable[PolicyRow]) -> Iterable[str]:
    rows = list(rows)
    few = [f"{row.name} {row.effective:,.0f}" for row in rows if row.effective < FEW_EFFECTIVE]
    if few:
        yield (
            f"off-policy: an effective sample below {FEW_EFFECTIVE} places says next to nothing "
            f"({', '.join(few)})"
        )
    off = [f"{row.name} {row.mean_weight.value:.2f}" for row in rows if _is_off(row.mean_weight)]
    if off:
        yield (
            f"off-policy: weights should average 1, and do not ({', '.join(off)}): the "
            "propensities are not those of this log, or it could not have shown what these "
            "rankers would"
        )


def _is_off(mean: Amount) -> bool:
    """Whether a mean weight cannot be 1: there are many rankers, and chance moves all of them."""
    if mean.low is None or mean.high is None:
        return False
    reach = FAR * (mean.high - mean.value if mean.value < 1 else mean.value - mean.low)
    return abs(mean.value - 1) > reach
