"""What people judged: bad matches, jobs found for a query, jobs like another job."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.simulation import words
from promptrank.simulation.draws import Bools, below, uniform
from promptrank.simulation.log import SLATE
from promptrank.simulation.switches import DAYS, Switches
from promptrank.simulation.utility import Pairs, pairs
from promptrank.simulation.world import DAY, START, Jobs, Members, version

REVIEWED = 6
GRADES = ("none", "weak", "good", "exact")
RELEVANT = 2
"""Grades from here on (good, exact) count as relevant."""


@dataclass(frozen=True, slots=True)
class Reviews:
    """Columns by reviewed pair; ``said_bad`` is the verdict, ``pairs.bad`` the truth."""

    member: Codes
    job: Codes
    time: Codes
    pairs: Pairs
    said_bad: Bools
    chance: Floats


@dataclass(frozen=True, slots=True)
class Grades:
    """Columns by judged pair of a query or a source job (``about``) and a job.

    Attributes:
        about: number of the query, or of the source job's list.
        grade: what the judge said; ``true`` is right.
        chance: that the judge says good or exact, given what is true.
    """

    about: Codes
    job: Codes
    time: Codes
    true: Codes
    grade: Codes
    chance: Floats


def review(s: Switches, members: Members, jobs: Jobs) -> Reviews:
    """Every member with six jobs of the region, judged by the rule of `utility.pairs`."""
    u = uniform(s.seed, "reviews", 2, s.members)
    first = np.maximum((members.signed_up - START) // DAY + 1, 0)
    time = START + DAY * (first + below(u[0], DAYS - first)) + 43200
    stream = np.random.Generator(np.random.PCG64([s.seed, crc32(b"reviewed")]))
    markets = [np.flatnonzero(jobs.region == r) for r in range(s.regions)]
    chosen = np.empty((s.members, REVIEWED), np.int64)
    remote = words.MODES.index("remote")
    for i in range(s.members):
        market = markets[int(members.region[i])]
        # Few remote jobs, and few of another field: both would give the verdict away.
        weight = np.where(jobs.field[market] == members.field[i], 40.0, 1.0)
        weight *= np.where(jobs.city[market] == members.city[i], 4.0, 1.0)
        weight *= np.where(jobs.mode[market, 0] == remote, 0.3, 1.0)
        chosen[i] = _draw(stream, market, weight, jobs.posted[market] < time[i], REVIEWED)
    member, when = np.repeat(np.arange(s.members), REVIEWED), np.repeat(time, REVIEWED)
    job = chosen.reshape(-1)
    judged = pairs(s, members, jobs, member, job, when)
    wrong = uniform(s.seed, "verdicts", len(job)) < s.noise
    chance = np.where(judged.bad, 1 - s.noise, s.noise)
    return Reviews(member, job, when, judged, judged.bad ^ wrong, chance)


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries by number: the job somebody had in mind, and which of its traits they typed.

    Attributes:
        asks: (queries, 5): alias instead of title, level, mode, one skill, kind.
        skill: the skill that was typed, where one was.
        text: what was typed.
    """

    target: Codes
    asks: Bools
    skill: Codes
    text: list[str]
    grades: Grades


def search(s: Switches, jobs: Jobs) -> Queries:
    """A query for every fourth member, each with eight judged jobs of one region."""
    n = max(20, s.members // 4)
    u = uniform(s.seed, "queries", 9, n)
    target = below(u[0], len(jobs.posted))
    time = _moment(jobs, target, u[1])
    asks = u[2:7] < np.array([0.5, 0.4, 0.4, 0.5, 0.3])[:, None]
    of_target = target, version(jobs.changed, target, time)
    level, mode = jobs.level[of_target], jobs.mode[of_target]
    skill = np.argmax(jobs.skills[of_target] * (0.1 + _spread(u[7])), axis=1)
    asks[1] &= level != words.LEVELS.index("experienced")
    job = _candidates(s, "found", jobs, target, time, keep_target=True)
    about, when = np.repeat(np.arange(n), SLATE), np.repeat(time, SLATE)
    of_job = job, version(jobs.changed, job, when)
    misses = asks[1][about] & (jobs.level[of_job] != level[about])
    misses |= asks[2][about] & (jobs.mode[of_job] != mode[about])
    misses |= asks[3][about] & ~jobs.skills[(*of_job, skill[about])]
    misses |= asks[4][about] & (jobs.kind[job] != jobs.kind[target[about]])
    field, role = _alike(jobs, job, target[about])
    true = np.where(field, np.where(role, 2 + ~misses, 1), 0)
    text = [
        _query(jobs, int(t), asks[:, i], int(level[i]), int(mode[i]), int(skill[i]), u[8, i])
        for i, t in enumerate(target.tolist())
    ]
    grades = _graded(s, "query grades", about, job, when, true)
    return Queries(target, asks.T, skill, text, grades)


def similar(s: Switches, jobs: Jobs) -> tuple[Codes, Grades]:
    """Source jobs, one for every fourth member, each with eight judged jobs of its region."""
    n = min(max(20, s.members // 4), len(jobs.posted))
    source = np.argsort(uniform(s.seed, "sources", len(jobs.posted)), kind="stable")[:n]
    time = _moment(jobs, source, uniform(s.seed, "source days", n))
    job = _candidates(s, "related", jobs, source, time, keep_target=False)
    about, when = np.repeat(np.arange(n), SLATE), np.repeat(time, SLATE)
    of_job = job, version(jobs.changed, job, when)
    of_source = source[about], version(jobs.changed, source[about], when)
    shared = (jobs.skills[of_job] & jobs.skills[of_source]).sum(1)
    field, role = _alike(jobs, job, source[about])
    true = np.where(field, 1 + role.astype(np.int64) + (shared >= 2), 0)
    return source, _graded(s, "similar grades", about, job, when, true)


def _moment(jobs: Jobs, job: Codes, u: Floats) -> Codes:
    """A noon at which a job had been posted."""
    first = np.maximum((jobs.posted[job] - START) // DAY + 1, 0)
    return np.asarray(START + DAY * (first + below(u, DAYS - first)) + 43200)


def _spread(u: Floats) -> Floats:
    """A (queries, skills) table of numbers in [0, 1) that picks one skill of several."""
    return np.asarray((u[:, None] + np.arange(len(words.SKILLS)) * 0.6180339887498949) % 1.0)


def _alike(jobs: Jobs, job: Codes, other: Codes) -> tuple[Bools, Bools]:
    field = jobs.field[job] == jobs.field[other]
    return field, field & (jobs.role[job] == jobs.role[other])


def _candidates(
    s: Switches, name: str, jobs: Jobs, target: Codes, time: Codes, *, keep_target: bool
) -> Codes:
    stream = np.random.Generator(np.random.PCG64([s.seed, crc32(name.encode())]))
    markets = [np.flatnonzero(jobs.region == r) for r in range(s.regions)]
    slates = np.empty((len(target), SLATE), np.int64)
    for i, t in enumerate(target.tolist()):
        market = markets[int(jobs.region[t])]
        field, role = _alike(jobs, market, np.full(len(market), t))
        weight = np.where(role, 12.0, np.where(field, 4.0, 1.0))
        open_ = (jobs.posted[market] < time[i]) & (keep_target | (market != t))
        slates[i] = _draw(stream, market, weight, open_, SLATE)
    return slates.reshape(-1)


def _draw(
    stream: np.random.Generator, market: Codes, weight: Floats, open_: Bools, count: int
) -> Codes:
    """A draw without replacement by weight: the first of exponential clocks of these rates."""
    clock = -np.log1p(-stream.random(len(market))) / weight
    clock[~open_] = np.inf
    return np.asarray(market[np.argsort(clock, kind="stable")[:count]])


def _graded(s: Switches, name: str, about: Codes, job: Codes, time: Codes, true: Codes) -> Grades:
    u = uniform(s.seed, name, 2, len(job))
    step = np.where(u[0] < s.noise, np.where(u[1] < 0.5, 1, -1), 0)
    grade = np.clip(true + step, 0, len(GRADES) - 1)
    slip = s.noise / 2  # of one step in one direction
    chance = np.select([true == 2, true == 1, true == 0], [1 - slip, slip, 0.0], 1.0)
    return Grades(about, job, time, true, grade, chance)


def _query(
    jobs: Jobs, target: int, asks: Bools, level: int, mode: int, skill: int, order: float
) -> str:
    title, alias = words.FIELDS[int(jobs.field[target])].roles[int(jobs.role[target])]
    what = alias if asks[0] else title
    if asks[1]:
        what = f"{words.LEVELS[level]} {what}"
    extras = []
    if asks[3]:
        extras.append(f"with {words.SKILLS[skill]}")
    if asks[4]:
        extras.append(f"at a {words.KINDS[int(jobs.kind[target])]}")
    if asks[2] and order < 0.5:
        return " ".join([words.MODES[mode], what, *extras])
    if asks[2]:
        extras.append(words.MODES[mode])
    return " ".join([what, *extras])
