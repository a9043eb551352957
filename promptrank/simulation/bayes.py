"""What the best ranker knows: exact chances of each outcome, given everything observable.

A member's taste is one of five kinds of company, all equally likely beforehand. Given the taste,
impressions are independent (no member is shown a job twice, and noise is drawn for each by
itself), so what was recorded before a request gives the posterior of the taste by Bayes' rule:

    log P(taste = k | past) = const + sum over past impressions of kind k of log(q1 / q0)

where q1 and q0 are the likelihoods of what had been recorded of that impression by then, with and
without a match of kind and taste. An action may still be on its way:

    applied             q = look * P(apply)
    viewed so far       q = look * (P(view) + P(apply) * (lost + (1 - lost) * P(wait longer)))
    dismissed           q = look * P(dismiss)
    nothing so far      q = 1 - look + look * (P(nothing) + (P(apply) + P(view)) * P(wait longer)
                                               + P(dismiss) * P(wait longer))

Conditioned on: members and jobs as of the request, region, distance and place of every earlier
impression, what had been recorded strictly before, the whole slate with the served scores, and
(``everything``) the logged affinities. Not on: the candidate's own place, which averages over the
known lottery of the log, and not on anything of the same request or later. The parameters of the
model are taken as known. ``text`` is the same without affinities, as for a ranker whose prompt
does not show them; they are then noise, of earlier impressions too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.simulation.log import (
    APPLY_AFTER,
    DISMISS_AFTER,
    EXPLORE,
    SLATE,
    VIEW_AFTER,
    WINDOW,
    ShownJobs,
    lost_share,
)
from promptrank.simulation.switches import Switches
from promptrank.simulation.utility import (
    SPREAD,
    TASTE,
    Chances,
    expected_chances,
    looked_at,
    utility,
)
from promptrank.simulation.words import KINDS
from promptrank.simulation.world import DAY, Jobs

Look = Callable[[Switches, Codes], Floats]
"""The probability that somebody looks at each of these places."""

_CHUNK = 200_000  # impressions at a time: bounds the memory of (request, past impression) pairs


@dataclass(frozen=True, slots=True)
class Observed:
    """Exact chances by impression.

    Attributes:
        apply: of an application that is recorded within the window.
        view: of a view that is recorded within the window.
        applied: of an application, recorded or not.
        wanted: of an application, had the member looked.
    """

    apply: Floats
    view: Floats
    applied: Floats
    wanted: Floats


def best_chances(s: Switches, jobs: Jobs, log: ShownJobs, *, affinity: bool) -> Observed:
    """`Observed` for every impression; without ``affinity`` for rankers that cannot see it."""
    both = _both(s, log, affinity=affinity)
    lost = lost_share(s, jobs, log.job)
    cuts = pairwise(_cuts(log.member))
    match = np.concatenate([_match_chance(s, log, both, lost, low, high) for low, high in cuts])
    mixed = Chances.mix(*both, match)
    places = looked_at(s, np.arange(1, SLATE + 1))
    look = EXPLORE * places.mean() + (1 - EXPLORE) * places[log.rank - 1]
    seen = 1 - wait(s.delay / 4, np.array([float(WINDOW - VIEW_AFTER)]))[0]
    view = look * (mixed.apply + mixed.view) * seen
    apply = look * mixed.apply * (1 - lost) * applies_within(s)
    return Observed(apply, view, look * mixed.apply, mixed.apply)


def wait(mean_days: float, seconds: Floats) -> Floats:
    """Probability that an exponential wait of this mean lasts longer; 1 before it begins."""
    passed = np.maximum(seconds, 0.0)
    if mean_days == 0:
        return np.asarray((seconds <= 0).astype(np.float64))
    return np.asarray(np.exp(-passed / (mean_days * DAY)))


def applies_within(s: Switches) -> float:
    """P(both waits together end within the window): two exponentials, of means d/4 and 3d/4."""
    if s.delay == 0:
        return 1.0
    a, b = s.delay * DAY / 4, s.delay * DAY * 3 / 4
    left = WINDOW - VIEW_AFTER - APPLY_AFTER
    return float(1 - (b * np.exp(-left / b) - a * np.exp(-left / a)) / (b - a))


def _cuts(member: Codes) -> list[int]:
    """Places between members, about `_CHUNK` apart, with both ends."""
    cuts = [0]
    for start in np.flatnonzero(np.diff(member, prepend=-1)).tolist():
        if start - cuts[-1] >= _CHUNK:
            cuts.append(start)
    return [*cuts, len(member)]


def _both(s: Switches, log: ShownJobs, *, affinity: bool) -> tuple[Chances, Chances]:
    """Chances without and with a match of kind and taste, all noise integrated out."""
    share = s.hidden + (0.0 if affinity else s.affinity)
    shown = log.affinity if affinity else 0.0
    without, with_ = (
        expected_chances(
            utility(s, log.pairs.known + taste, shown, 0.0), float(SPREAD * np.sqrt(share))
        )
        for taste in (0.0, TASTE)
    )
    return without, with_


def _match_chance(
    s: Switches,
    log: ShownJobs,
    both: tuple[Chances, Chances],
    lost: Floats,
    low: int,
    high: int,
    look_at: Look = looked_at,
) -> Floats:
    """P(the job's kind is the member's taste | past) for the impressions [low, high)."""
    request, member = log.request[low:high], log.member[low:high]
    first = np.flatnonzero(np.diff(request, prepend=-1)) + low  # of each request
    begin = low + np.searchsorted(member, log.member[first])  # of the request's member
    counts = first - begin
    ask = np.repeat(np.arange(len(first)), counts)
    past = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + begin[ask]
    ratio = evidence(s, log, both, lost, past, log.time[first][ask], look_at)
    score = np.zeros((len(first), len(KINDS)))
    np.add.at(score, (ask, log.pairs.kind[past]), ratio)
    weight = np.exp(score - score.max(1, keepdims=True))
    posterior = weight / weight.sum(1, keepdims=True)
    return np.asarray(posterior[request - request[0], log.pairs.kind[low:high]])


def evidence(
    s: Switches,
    log: ShownJobs,
    both: tuple[Chances, Chances],
    lost: Floats,
    past: Codes,
    now: Codes,
    look_at: Look = looked_at,
) -> Floats:
    """log(q1 / q0) of what had been recorded of impression past[i] strictly before now[i]."""
    look = look_at(s, log.place[past])
    age = (now - log.time[past]).astype(np.float64)
    unseen = wait(s.delay / 4, age - VIEW_AFTER)
    unsaid = wait(s.delay / 4, age - DISMISS_AFTER)
    viewed = log.viewed[past]
    late = wait(s.delay * 3 / 4, (now - viewed).astype(np.float64) - APPLY_AFTER)
    still = lost[past] + (1 - lost[past]) * late
    states = (log.seen_by()[past] < now, viewed < now, log.dismissed[past] < now)
    q = []
    for c in both:
        apply, view, dismiss = c.apply[past], c.view[past], c.dismiss[past]
        silent = c.nothing[past] + (apply + view) * unseen + dismiss * unsaid
        options = [look * apply, look * (view + apply * still), look * dismiss]
        q.append(np.select(list(states), options, 1 - look + look * silent))
    return np.asarray(np.log(q[1]) - np.log(q[0]))
