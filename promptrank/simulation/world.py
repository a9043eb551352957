"""Members and jobs: their first version, and for those that change the second one."""

from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Codes, Floats
from promptrank.simulation import words
from promptrank.simulation.draws import Bools, below, normal, pick, uniform
from promptrank.simulation.switches import DAYS, Switches

DAY = 86400
START = 1_736_121_600
"""Monday, 6 January 2025, midnight UTC: day 0."""
NEVER = START + 10_000 * DAY
CENTRES = np.array([(0.0, 0.0), (60.0, 0.0), (30.0, 70.0)])  # of a region's cities, in km
_CITY = (5.0, 3.0, 2.0)
_NUM_FIELDS, _PER_FIELD = len(words.FIELDS), len(words.FIELDS[0].skills)


@dataclass(frozen=True, slots=True)
class Members:
    """Columns by member; columns of two hold the first version and the one from ``changed`` on.

    Attributes:
        skills: (members, 2, skills).
        level: (members, 2).
        licensed: whether they hold the licence of their field.
        taste: the kind of company they like; told nowhere, but shown by what they do.
        place: (members, 2), kilometres.
    """

    region: Codes
    city: Codes
    field: Codes
    licensed: Bools
    taste: Codes
    cold: Bools
    place: Floats
    signed_up: Codes
    changed: Codes
    level: Codes
    skills: Bools


@dataclass(frozen=True, slots=True)
class Jobs:
    """Columns by job; columns of two hold the first version and the one from ``changed`` on."""

    region: Codes
    city: Codes
    field: Codes
    role: Codes
    company: Codes
    kind: Codes
    licence: Bools
    site: Codes
    place: Floats
    posted: Codes
    changed: Codes
    level: Codes
    skills: Bools
    mode: Codes
    hours: Codes
    wording: Codes


def make_members(s: Switches) -> Members:
    """Everybody, with the moment they signed up."""
    n = s.members
    u = uniform(s.seed, "members", 12, n)
    region, city = below(u[0], s.regions), pick(u[1], _CITY)
    field, level = below(u[2], _NUM_FIELDS), pick(u[3], (1, 3, 4, 3, 1))
    cold = u[4] < s.cold
    late = START + DAY * (DAYS - 14 + below(u[5], 12))
    signed_up = np.where(cold, late, START - DAY * (1 + below(u[5], 30)))
    skills = _skills(s.seed, "member skills", field, own=4, others=np.ones(n, np.int64))
    changes = u[6] < 0.1
    changed = np.where(changes, np.maximum(START, signed_up) + DAY * (7 + below(u[7], 35)), NEVER)
    later = np.minimum(level + (u[8] < 0.5), len(words.LEVELS) - 1)
    learned = skills.copy()
    learned[np.arange(n), below(u[9], len(words.SKILLS))] = True
    return Members(
        region=region,
        city=city,
        field=field,
        licensed=u[10] < 0.6,
        taste=below(u[11], len(words.KINDS)),
        cold=cold,
        place=_places(s.seed, "member places", city),
        signed_up=signed_up,
        changed=changed,
        level=np.stack([level, later], 1),
        skills=np.stack([skills, learned], 1),
    )


def make_jobs(s: Switches) -> Jobs:
    """Enough jobs for each region that nobody is shown one twice."""
    n = s.regions * min(1500, max(150, round(0.6 * s.members / s.regions)))
    u = uniform(s.seed, "jobs", 18, n)
    region, city = np.arange(n) % s.regions, pick(u[0], _CITY)
    field, level = below(u[1], _NUM_FIELDS), pick(u[2], (1, 3, 4, 3, 1))
    company = below(u[3], len(words.COMPANIES))
    skills = _skills(s.seed, "job skills", field, own=3, others=(u[4] < 0.3).astype(np.int64))
    posted = START + DAY * np.where(u[5] < 0.6, -1 - below(u[6], 20), below(u[6], DAYS - 12))
    changed = np.where(u[7] < 0.25, np.maximum(START, posted) + DAY * (5 + below(u[8], 40)), NEVER)
    mode, hours = pick(u[9], (4, 3, 3)), below(u[10], 2)
    kind = below(uniform(s.seed, "companies", len(words.COMPANIES)), len(words.KINDS))
    return Jobs(
        region=region,
        city=city,
        field=field,
        role=below(u[11], 3),
        company=company,
        kind=kind[company],
        licence=u[12] < 0.3,
        site=below(u[13], 2),
        place=_places(s.seed, "job places", city),
        posted=posted,
        changed=changed,
        level=np.stack([level, level], 1),
        skills=np.stack([skills, skills], 1),
        mode=np.stack([mode, np.where(u[14] < 0.7, pick(u[15], (4, 3, 3)), mode)], 1),
        hours=np.stack([hours, np.where(u[16] < 0.7, 1 - hours, hours)], 1),
        wording=below(u[17], len(words.OPENINGS) * len(words.DUTIES)),
    )


def version(changed: Codes, index: Codes, time: Codes) -> Codes:
    """Which version of ``index`` was knowable at ``time``: strictly before it, as in requests."""
    return np.asarray((time > changed[index]).astype(np.int64))


def _skills(seed: int, name: str, field: Codes, *, own: int, others: Codes) -> Bools:
    """``own`` skills of the field and one of another field where ``others`` is 1."""
    n = len(field)
    u = uniform(seed, name, n, _PER_FIELD + 2)
    skills = np.zeros((n, len(words.SKILLS)), np.bool_)
    rows = np.arange(n)
    order = np.argsort(u[:, :_PER_FIELD], axis=1, kind="stable")
    for i in range(own):
        skills[rows, field * _PER_FIELD + order[:, i]] = True
    elsewhere = (field + 1 + below(u[:, _PER_FIELD], _NUM_FIELDS - 1)) % _NUM_FIELDS
    other = elsewhere * _PER_FIELD + below(u[:, _PER_FIELD + 1], _PER_FIELD)
    skills[rows[others == 1], other[others == 1]] = True
    return skills


def _places(seed: int, name: str, city: Codes) -> Floats:
    return np.asarray(CENTRES[city] + 3 * np.clip(normal(seed, name, len(city), 2), -2, 2))
