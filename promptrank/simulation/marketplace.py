"""The whole marketplace: tables, truth and report, and the folder they are written to."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.arrays import Codes, Floats
from promptrank.basics.files import beside, write_json
from promptrank.basics.json_files import read_json
from promptrank.errors import InputError
from promptrank.simulation import world_tables as tables
from promptrank.simulation.auc import expected_auc
from promptrank.simulation.bayes import Observed, best_chances
from promptrank.simulation.draws import Bools
from promptrank.simulation.grades import GRADES, RELEVANT, Grades, Reviews, review, search, similar
from promptrank.simulation.log import LOG_END, WINDOW, ShownJobs, make_impressions
from promptrank.simulation.switches import DAYS, Switches, check
from promptrank.simulation.words import KINDS
from promptrank.simulation.world import DAY, NEVER, START, Members, make_jobs, make_members

VERSION = 1
"""Version of the model, raised when a table changes; figures of two versions do not compare."""

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Marketplace:
    """Everything of one run.

    Attributes:
        readable: what a ranker may read, by name.
        truth: what it may not, by name.
        report: switches, counts, digests, and the best AUC any ranker could reach.
    """

    readable: dict[str, pa.Table]
    truth: dict[str, pa.Table]
    report: Report


def make_marketplace(switches: Switches) -> Marketplace:
    """Simulate; equal switches give equal tables.

    Raises:
        InputError: a switch that is out of range.
    """
    s = check(switches)
    members, jobs = make_members(s), make_jobs(s)
    log = make_impressions(s, members, jobs)
    everything = best_chances(s, jobs, log, affinity=True)
    text = best_chances(s, jobs, log, affinity=False)
    labelled, end = _labelled(log)
    slices = _slices(s, members, log)
    reviews, queries, (source, related) = (
        review(s, members, jobs),
        search(s, jobs),
        similar(s, jobs),
    )
    asked = tables.named("q", queries.grades.about)
    sources = tables.named("j", source[related.about])
    readable = {
        "members": tables.member_table(s, members),
        "jobs": tables.job_table(s, jobs),
        "impressions": tables.impression_table(s, members, jobs, log),
        "actions": tables.action_table(log),
        "reviews": tables.review_table(reviews),
        "queries": tables.query_table(queries),
        "judgements": tables.grade_table("query_id", asked, queries.grades),
        "similar": tables.grade_table("source_id", sources, related),
    }
    truth = {
        "members": pa.table(
            {
                "member_id": tables.named("m", range(s.members)),
                "taste": [KINDS[t] for t in members.taste.tolist()],
                "cold": members.cold,
            }
        ),
        "impressions": tables.impression_truth(
            log, everything, text, labelled, {"history": _history(log)}
        ),
        "reviews": _review_truth(readable["reviews"], reviews),
        "judgements": _grade_truth(readable["judgements"], "query_id", queries.grades),
        "similar": _grade_truth(readable["similar"], "source_id", related),
    }
    report = {
        "kind": "jobs",
        "version": VERSION,
        "switches": asdict(s),
        "log": _log_facts(log, labelled, end),
        "best": {
            **_best_of_log(log, everything, text, labelled, slices),
            "fit": _best(reviews.chance, None, reviews.said_bad),
            "search": _best(queries.grades.chance, None, queries.grades.grade >= RELEVANT),
            "similar": _best(related.chance, None, related.grade >= RELEVANT),
        },
        "rows": {n: t.num_rows for n, t in readable.items()},
        "sha256": {
            **{n: tables.digest(t) for n, t in readable.items()},
            **{f"truth/{n}": tables.digest(t) for n, t in truth.items()},
        },
    }
    return Marketplace(readable, truth, report)


def write_marketplace(made: Marketplace, out: Path) -> None:
    """Write ``OUT/*.parquet``, ``OUT/truth/*.parquet`` and ``OUT/report.json``, all or nothing.

    Raises:
        InputError: ``out`` is there and is not a marketplace, or cannot be written.
    """
    _refuse_other(out)
    try:
        with beside(out) as part:
            (part / "truth").mkdir(parents=True)
            for name, table in made.readable.items():
                pq.write_table(table, part / f"{name}.parquet")
            for name, table in made.truth.items():
                pq.write_table(table, part / "truth" / f"{name}.parquet")
            write_json(part / "report.json", made.report)
            if out.exists():
                shutil.rmtree(out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error


def _refuse_other(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder")
    if not any(out.iterdir()):
        return
    try:
        report = read_json(out / "report.json")
        ours = report.get("kind") == "jobs" and "switches" in report
    except InputError:
        ours = False
    if not ours:
        raise InputError(f"{out}: holds something else than a simulated marketplace; name another")


def _labelled(log: ShownJobs) -> tuple[Bools, int]:
    """Which impressions have a closed window when the log ends, and when that is."""
    actions = np.stack([log.viewed, log.seen_by(), log.dismissed, log.again])
    inside = (actions <= LOG_END) & (actions <= log.time + WINDOW)
    end = max(int(log.time.max()), int(actions[inside].max(initial=0)))
    return log.time + WINDOW <= end, end


def _history(log: ShownJobs) -> Codes:
    """Impressions that the member had been shown before the request."""
    of_member = np.searchsorted(log.member, log.member)
    return np.asarray(np.searchsorted(log.request, log.request) - of_member)


def _slices(s: Switches, members: Members, log: ShownJobs) -> dict[str, Bools]:
    region, history = members.region[log.member], _history(log)
    slices = {f"region={name}": region == i for i, name in enumerate(s.region_names)}
    slices |= {
        "members=cold": members.cold[log.member],
        "members=warm": ~members.cold[log.member],
        "history=0": history == 0,
        "history=1-16": (history > 0) & (history <= 16),
        "history=17+": history > 16,
        # What `split: {by: time, test: 7d}` takes: the last week before the last request.
        "last=7d": log.time > log.time.max() - 7 * DAY,
    }
    if s.drift is not None:
        after = log.time >= START + s.drift * DAY
        slices |= {"drift=before": ~after, "drift=after": after}
    return slices


def _best_of_log(
    log: ShownJobs, everything: Observed, text: Observed, labelled: Bools, slices: dict[str, Bools]
) -> Report:
    close = log.time + WINDOW
    happened = {
        "apply": log.seen_by() <= np.minimum(close, LOG_END),
        "view": log.viewed <= np.minimum(close, LOG_END),
        "applied": log.applied < NEVER,
        "wanted": log.wanted,
    }
    best: Report = {}
    for name, labels in happened.items():
        known, from_text = getattr(everything, name), getattr(text, name)
        # What is recorded within a window has a label only where the window has closed.
        rows = labelled if name in ("apply", "view") else np.ones(len(close), np.bool_)
        best[name] = _best(known[rows], from_text[rows], labels[rows])
        best[name]["slices"] = {
            part: _best(known[mask & rows], from_text[mask & rows], labels[mask & rows])
            for part, mask in slices.items()
        }
    return best


def _best(chance: Floats, text: Floats | None, labels: Any) -> Report:
    """The best AUC of these rows, and what the same scores reach on the labels that came out."""
    best: Report = {
        "rows": len(chance),
        "positives": int(labels.sum()),
        "best_auc": _short(expected_auc(chance, chance)),
    }
    if text is not None:
        # Measured against the chances that follow from the text, which are all this ranker knows.
        best["best_auc_from_text"] = _short(expected_auc(text, text))
    best["auc_of_best_on_labels"] = _short(expected_auc(chance, labels))
    return best


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _log_facts(log: ShownJobs, labelled: Bools, end: int) -> Report:
    applied = log.applied < NEVER
    return {
        "first_day": START,
        "request_days": DAYS,
        "window_days": WINDOW // DAY,
        "log_end": LOG_END,
        "newest_outcome": end,
        "requests": int(log.request[-1] + 1),
        "labelled_impressions": int(labelled.sum()),
        "applications": int(applied.sum()),
        "applications_lost": int((applied & log.lost).sum()),
        "applications_after_the_window": int((applied & (log.applied > log.time + WINDOW)).sum()),
        "bad_matches_shown": int(log.pairs.bad.sum()),
    }


def _review_truth(table: pa.Table, r: Reviews) -> pa.Table:
    truth = {
        "bad": r.pairs.bad,
        "bad_location": r.pairs.location,
        "bad_licence": r.pairs.licence,
        "p_bad": tables.rounded(r.chance),
    }
    for name, values in truth.items():
        table = table.append_column(name, pa.array(values))
    return table.drop_columns(["reviewed_at", "verdict"])


def _grade_truth(table: pa.Table, key: str, g: Grades) -> pa.Table:
    truth = table.select([key, "job_id"])
    truth = truth.append_column("grade", pa.array([GRADES[i] for i in g.true.tolist()]))
    return truth.append_column("p_relevant", pa.array(tables.rounded(g.chance)))
