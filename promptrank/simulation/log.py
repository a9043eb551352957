"""The log: requests, slates with known propensities, and what members did, recorded or not."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.simulation.draws import Bools, below, exponential, normal, uniform
from promptrank.simulation.switches import DAYS, Switches
from promptrank.simulation.utility import TASTE, Pairs, chances, looked_at, pairs, utility
from promptrank.simulation.words import SITES
from promptrank.simulation.world import DAY, NEVER, START, Jobs, Members

SLATE = 8
EXPLORE = 0.3
"""Share of slates in random order; the others are sorted by the served ranker's score."""
LOG_END = START + (DAYS + 8) * DAY
WINDOW = 7 * DAY
VIEW_AFTER, APPLY_AFTER, DISMISS_AFTER = 20, 60, 15
"""Seconds that pass at least: from shown to viewed, viewed to applied, shown to dismissed."""


@dataclass(frozen=True, slots=True)
class ShownJobs:
    """Columns by impression, in the order of member, time and place.

    Times of what never happened are `NEVER`. ``viewed``, ``applied`` and ``dismissed`` are when it
    was done, whether or not a log recorded it; ``lost`` says that an application is not recorded.

    Attributes:
        request: number of the request.
        place: where it was shown, 1 = top; ``rank`` is where the served score alone would have
            put it.
        wanted: whether the member would have applied, had they looked.
    """

    request: Codes
    member: Codes
    job: Codes
    time: Codes
    place: Codes
    rank: Codes
    logged: Floats
    propensity: Floats
    affinity: Floats
    pairs: Pairs
    utility: Floats
    looked: Bools
    viewed: Codes
    applied: Codes
    dismissed: Codes
    again: Codes
    lost: Bools
    wanted: Bools

    def seen_by(self, log_end: int = LOG_END) -> Codes:
        """When an application is recorded; `NEVER` where it is lost or too late."""
        return np.where(self.lost | (self.applied > log_end), NEVER, self.applied)


def make_impressions(s: Switches, members: Members, jobs: Jobs) -> ShownJobs:
    """Every request of every member, and what came of it."""
    member, time = _requests(s, members)
    shown = _slates(s, members, jobs, member, time)
    per = np.repeat(np.arange(len(member)), SLATE)
    job, who, when = shown.reshape(-1), member[per], time[per]
    place, rank, logged, propensity = _order(s, members, jobs, member, time, shown)
    # The slate is listed by place, as a log would hold it.
    order = np.lexsort((place, per))
    job, rank, place = job[order], rank[order], place[order]
    pairing = pairs(s, members, jobs, who, job, when)
    n = len(job)
    affinity = np.round(normal(s.seed, "affinity", n), 3)
    text = pairing.known + _taste(members, pairing, who)
    u = utility(s, text, affinity, normal(s.seed, "hidden", n))
    does = chances(u)
    draw = uniform(s.seed, "actions", 4, n)
    waits = exponential(s.seed, "delays", 4, n) * s.delay * DAY
    looked = draw[0] < looked_at(s, place)
    view = draw[1] < does.apply + does.view
    wanted = draw[1] < does.apply
    dismiss = ~view & (draw[1] >= 1 - does.dismiss)
    viewed = np.where(looked & view, when + VIEW_AFTER + _whole(waits[0] / 4), NEVER)
    applied = np.where(looked & wanted, viewed + APPLY_AFTER + _whole(waits[1] * 3 / 4), NEVER)
    dismissed = np.where(looked & dismiss, when + DISMISS_AFTER + _whole(waits[2] / 4), NEVER)
    back = exponential(s.seed, "returns", n) * 5 * DAY
    again = np.where((viewed < NEVER) & (draw[2] < 0.35), viewed + 3600 + _whole(back), NEVER)
    lost = draw[3] < lost_share(s, jobs, job)
    return ShownJobs(
        request=per,
        member=who,
        job=job,
        time=when,
        place=place,
        rank=rank,
        logged=logged[order],
        propensity=propensity[order],
        affinity=affinity,
        pairs=pairing,
        utility=u,
        looked=looked,
        viewed=viewed,
        applied=applied,
        dismissed=dismissed,
        again=again,
        lost=lost,
        wanted=wanted,
    )


def lost_share(s: Switches, jobs: Jobs, job: Codes) -> Floats:
    """Probability that an application for a job is never recorded."""
    if s.lost_at == "all":
        return np.full(len(job), s.false_negatives)
    away = jobs.site == SITES.index("company site")
    # Half of the jobs are applied for there, so twice the share is lost there.
    return np.asarray(np.where(away, 2 * s.false_negatives, 0.0)[job])


def _whole(seconds: Floats) -> Codes:
    return np.asarray(seconds.astype(np.int64))


def _taste(members: Members, pairing: Pairs, who: Codes) -> Floats:
    return np.asarray(TASTE * (pairing.kind == members.taste[who]))


def _requests(s: Switches, members: Members) -> tuple[Codes, Codes]:
    """Member and time of each request, by member and time; by day, at least an hour apart."""
    most = 9
    u = uniform(s.seed, "requests", s.members, 2 + 2 * most)
    count = np.where(members.cold, 1 + below(u[:, 0], 2), 3 + below(u[:, 0], most - 2))
    first = np.maximum((members.signed_up - START) // DAY + 1, 0)
    day = first[:, None] + below(u[:, 2 : 2 + most], (DAYS - first)[:, None])
    second = 7 * 3600 + below(u[:, 2 + most :], 15 * 3600)
    member, column = np.nonzero(np.arange(most) < count[:, None])
    time = START + (day * DAY + second)[member, column]
    order = np.lexsort((time, member))
    member, time = member[order], time[order]
    same = (member[1:] == member[:-1]) & (time[1:] - time[:-1] < 3600)
    keep = np.concatenate([[True], ~same])
    return member[keep], time[keep]


def _slates(s: Switches, members: Members, jobs: Jobs, member: Codes, time: Codes) -> Codes:
    """(requests, SLATE) jobs: more of one's own field and city, none of them twice."""
    stream = np.random.Generator(np.random.PCG64([s.seed, crc32(b"slates")]))
    markets = [np.flatnonzero(jobs.region == r) for r in range(s.regions)]
    slates = np.empty((len(member), SLATE), np.int64)
    before, weight, market = -1, np.empty(0), markets[0]
    for i, (who, when) in enumerate(zip(member.tolist(), time.tolist(), strict=True)):
        if who != before:
            market, before = markets[int(members.region[who])], who
            weight = np.where(jobs.field[market] == members.field[who], 6.0, 1.0)
            weight *= np.where(jobs.city[market] == members.city[who], 4.0, 1.0)
        # The least of exponential clocks of these rates: a draw without replacement by weight.
        clock = -np.log1p(-stream.random(len(market))) / np.maximum(weight, 1e-300)
        clock[jobs.posted[market] >= when] = np.inf
        chosen = np.argsort(clock, kind="stable")[:SLATE]
        weight[chosen] = 0.0
        slates[i] = market[chosen]
    return slates


def _order(
    s: Switches, members: Members, jobs: Jobs, member: Codes, time: Codes, shown: Codes
) -> tuple[Codes, Codes, Floats, Floats]:
    """Place, rank by the served score, that score, and the propensity of the place; flat."""
    fresh = np.exp(-(time[:, None] - jobs.posted[shown]) / (14 * DAY))
    same = jobs.field[shown] == members.field[member][:, None]
    logged = np.round(0.6 * same + fresh + normal(s.seed, "served", *shown.shape), 3)
    rank = np.argsort(np.argsort(-logged, axis=1, kind="stable"), axis=1, kind="stable") + 1
    u = uniform(s.seed, "places", len(member), SLATE + 1)
    shuffled = np.argsort(np.argsort(u[:, 1:], axis=1), axis=1) + 1
    place = np.where(u[:, :1] < EXPLORE, shuffled, rank)
    propensity = EXPLORE / SLATE + (1 - EXPLORE) * (place == rank)
    return place.reshape(-1), rank.reshape(-1), logged.reshape(-1), propensity.reshape(-1)
