"""The marketplace as Arrow tables, what a ranker may read apart from the truth."""

import hashlib
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from promptrank.basics.arrays import Codes, Floats
from promptrank.simulation import words
from promptrank.simulation.bayes import Observed
from promptrank.simulation.draws import Bools
from promptrank.simulation.grades import GRADES, Grades, Queries, Reviews
from promptrank.simulation.log import LOG_END, ShownJobs
from promptrank.simulation.switches import Switches
from promptrank.simulation.world import NEVER, Jobs, Members

Columns = dict[str, Any]


def digest(table: pa.Table) -> str:
    """SHA-256 of a table's content: names, types and values, not of how a file holds them."""
    content = hashlib.sha256()
    for name in table.column_names:
        column = table[name]
        content.update(orjson.dumps([name, str(column.type), column.to_pylist()]))
    return content.hexdigest()


def named(prefix: str, index: Any, width: int = 6) -> list[str]:
    """Ids such as ``m000012``."""
    return [f"{prefix}{i:0{width}d}" for i in np.asarray(index).tolist()]


def member_table(s: Switches, m: Members) -> pa.Table:
    """One row per version."""
    rows, which = _versions(m.changed, m.signed_up)
    since = np.where(which == 0, m.signed_up[rows], m.changed[rows])
    return _sorted(
        {
            "member_id": named("m", rows),
            "updated_at": since,
            "signed_up": m.signed_up[rows],
            "region": _words(s.region_names, m.region[rows]),
            "city": _cities(s, m.region[rows], m.city[rows]),
            "field": _words([f.name for f in words.FIELDS], m.field[rows]),
            "level": _words(words.LEVELS, m.level[rows, which]),
            "skills": _skills(m.skills[rows, which]),
            "licence": _licences(m.licensed[rows], m.field[rows]),
        },
        "member_id",
    )


def job_table(s: Switches, j: Jobs) -> pa.Table:
    """One row per version."""
    rows, which = _versions(j.changed, j.posted)
    columns: Columns = {
        "job_id": named("j", rows),
        "updated_at": np.where(which == 0, j.posted[rows], j.changed[rows]),
        "region": _words(s.region_names, j.region[rows]),
        "city": _cities(s, j.region[rows], j.city[rows]),
        "company": _words(words.COMPANIES, j.company[rows]),
        "kind": _words(words.KINDS, j.kind[rows]),
        "field": _words([f.name for f in words.FIELDS], j.field[rows]),
        "title": [
            (words.TITLES[lv] + words.FIELDS[f].roles[r][0]).capitalize()
            for lv, f, r in zip(j.level[rows, which], j.field[rows], j.role[rows], strict=True)
        ],
        "level": _words(words.LEVELS, j.level[rows, which]),
        "mode": _words(words.MODES, j.mode[rows, which]),
        "hours": _words(words.HOURS, j.hours[rows, which]),
        "skills": _skills(j.skills[rows, which]),
        "licence": _licences(j.licence[rows], j.field[rows]),
        "apply_on": _words(words.SITES, j.site[rows]),
    }
    columns["text"] = [
        _advert({k: v[i] for k, v in columns.items()}, int(w))
        for i, w in enumerate(j.wording[rows])
    ]
    return _sorted(columns, "job_id")


def impression_table(s: Switches, m: Members, j: Jobs, log: ShownJobs) -> pa.Table:
    """One row per candidate of a logged request."""
    distance = np.sqrt(((m.place[log.member] - j.place[log.job]) ** 2).sum(1))
    request = named("r", log.request)
    return pa.table(
        {
            "request_id": request,
            "shown_at": log.time,
            "member_id": named("m", log.member),
            "impression_id": _impression_ids(request, log.place),
            "job_id": named("j", log.job),
            "rank": log.place,
            "p": np.round(log.propensity, 6),
            "logged_score": log.logged,
            "distance_km": np.round(distance, 1),
            "affinity": log.affinity,
            "region": _words(s.region_names, m.region[log.member]),
        }
    )


def action_table(log: ShownJobs) -> pa.Table:
    """What was recorded, by time; who comes back to a job views it twice."""
    ids = np.arange(len(log.time))
    kinds = (
        ("view", log.viewed),
        ("apply", log.seen_by()),
        ("dismiss", log.dismissed),
        ("view", log.again),
    )
    row = np.concatenate([ids[at <= LOG_END] for _, at in kinds])
    when = np.concatenate([at[at <= LOG_END] for _, at in kinds])
    what = np.concatenate([np.full((at <= LOG_END).sum(), name) for name, at in kinds])
    order = np.lexsort((what, row, when))
    row, request = row[order], named("r", log.request[row[order]])
    return pa.table(
        {
            "request_id": request,
            "impression_id": _impression_ids(request, log.place[row]),
            "action": what[order].tolist(),
            "acted_at": when[order],
        }
    )


def review_table(r: Reviews) -> pa.Table:
    """One row per pair that somebody judged."""
    return pa.table(
        {
            "review_id": named("v", r.member),
            "reviewed_at": r.time,
            "member_id": named("m", r.member),
            "job_id": named("j", r.job),
            "verdict": np.where(r.said_bad, "bad", "good").tolist(),
        }
    )


def query_table(q: Queries) -> pa.Table:
    """One row per query."""
    return pa.table({"query_id": named("q", range(len(q.text))), "text": q.text})


def grade_table(key: str, about: list[str], g: Grades) -> pa.Table:
    """One row per judged pair; ``about`` names the query or the source of each."""
    return pa.table(
        {
            key: about,
            "job_id": named("j", g.job),
            "judged_at": g.time,
            "grade": _words(GRADES, g.grade),
        }
    )


def impression_truth(
    log: ShownJobs, everything: Observed, text: Observed, labelled: Bools, facts: Columns
) -> pa.Table:
    """What happened and what could have been known, beside each impression."""
    request = named("r", log.request)
    return pa.table(
        {
            "request_id": request,
            "impression_id": _impression_ids(request, log.place),
            "member_id": named("m", log.member),
            "job_id": named("j", log.job),
            **facts,
            "labelled": labelled,
            "bad_location": log.pairs.location,
            "bad_licence": log.pairs.licence,
            "bad": log.pairs.bad,
            "utility": np.round(log.utility, 6),
            "looked": log.looked,
            "viewed": log.viewed < NEVER,
            "applied": log.applied < NEVER,
            "dismissed": log.dismissed < NEVER,
            "wanted": log.wanted,
            "lost": log.lost & (log.applied < NEVER),
            **{
                f"p_{name}{ending}": np.round(getattr(known, name), 9)
                for known, ending in ((everything, ""), (text, "_text"))
                for name in ("apply", "view", "applied", "wanted")
            },
        }
    )


def _versions(changed: Codes, first: Codes) -> tuple[Codes, Codes]:
    """Row numbers and versions: everybody's first, and the second of those who change."""
    assert (changed > first).all(), "a version holds from a time after the one before"
    second = np.flatnonzero(changed < NEVER)
    rows = np.concatenate([np.arange(len(changed)), second])
    which = np.concatenate([np.zeros(len(changed), np.int64), np.ones(len(second), np.int64)])
    return rows, which


def _sorted(columns: Columns, key: str) -> pa.Table:
    return pa.table(columns).sort_by([(key, "ascending"), ("updated_at", "ascending")])


def _words(names: Any, index: Any) -> list[str]:
    return [str(names[i]) for i in np.asarray(index).tolist()]


def _cities(s: Switches, region: Codes, city: Codes) -> list[str]:
    names = [words.CITIES[r] for r in s.region_names]
    return [names[r][c] for r, c in zip(region.tolist(), city.tolist(), strict=True)]


def _skills(have: Bools) -> list[list[str]]:
    return [[words.SKILLS[i] for i in np.flatnonzero(row)] for row in have]


def _licences(has: Bools, field: Codes) -> list[str]:
    return [
        words.FIELDS[f].licence if h else "none"
        for h, f in zip(has.tolist(), field.tolist(), strict=True)
    ]


def _impression_ids(request: list[str], place: Codes) -> list[str]:
    return [f"{r}-{k}" for r, k in zip(request, place.tolist(), strict=True)]


def _advert(job: Columns, wording: int) -> str:
    opening = words.OPENINGS[wording % len(words.OPENINGS)]
    duty = words.DUTIES[wording // len(words.OPENINGS)]
    parts = [
        opening.format(title=job["title"], company=job["company"].capitalize(), kind=job["kind"]),
        duty.format(skills=", ".join(job["skills"])),
        words.PLACES[words.MODES.index(job["mode"])].format(city=job["city"], hours=job["hours"]),
    ]
    if job["licence"] != "none":
        article = "An" if job["licence"][0] in "aeiou" else "A"
        parts.append(words.DEMAND.format(article=article, licence=job["licence"]))
    return " ".join(parts)


def rounded(values: Floats) -> Floats:
    """Chances as truth tables hold them."""
    return np.round(values, 9)
