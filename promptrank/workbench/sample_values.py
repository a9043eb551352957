"""What the pages of a run on a sample show."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from starlette.requests import Request

from promptrank.errors import InputError
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_numbers import cell_text, gap_text
from promptrank.schema.metric_kinds import KINDS
from promptrank.schema.metric_names import parse_metric
from promptrank.workbench.beside_saved import (
    EDIT,
    FILTERS,
    SAVED,
    Filter,
    RequestChange,
    certainty,
    metric_of_a_request,
)
from promptrank.workbench.desk import DeskTask
from promptrank.workbench.exporting import KINDS_OF_EXPORT
from promptrank.workbench.kept_runs import Kept, Looked
from promptrank.workbench.prompts_apart import most_moved, sections, stood
from promptrank.workbench.versions import RUNNING

SHOWN = 500
"""So many requests are listed."""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """A line of the table: both values and their difference, as text."""

    name: str
    meaning: str
    saved: str
    edit: str
    gap: str
    side: str | None


def status_values(kept: Kept, looked: Looked) -> dict[str, Any]:
    live = kept.live(looked.run.run_id)
    seen = looked.seen
    return {
        "run": looked.run,
        "progress": live.progress if live is not None else None,
        "pruned": live.pruned if live is not None else 0,
        "lost": live is None and looked.run.state == RUNNING,
        "look": f"{seen.requests}{'!' if seen.final else ''}" if seen is not None else "",
        "went_on": looked.live is not None,
    }


def run_values(kept: Kept, task: DeskTask, looked: Looked, request: Request) -> dict[str, Any]:
    which = _filter(request)
    seen = looked.seen
    changes = seen.changes if seen is not None else ()
    report = seen.report if seen is not None else None
    values = status_values(kept, looked)
    values |= {
        "seen": seen,
        "report": report,
        "certain": certainty(report, _held(kept, looked)) if report is not None else None,
        "metrics": metric_rows(report) if report is not None else [],
        "metric": metric_of_a_request(task.opened.task).name,
        "which": which,
        "filters": [(name, sum(change.passes(name) for change in changes)) for name in FILTERS],
        "changes": [change for change in changes if change.passes(which)][:SHOWN],
        "shown_most": SHOWN,
        "mark": mark,
        "chosen": request.query_params.get("request", ""),
        "same": bool(looked.run.edit_key) and looked.run.edit_key == looked.run.saved_key,
        "facts": looked.run.facts.get(EDIT, {}),
        "part": looked.run.part,
        "kinds": KINDS_OF_EXPORT,
        "address": _address,
    }
    return values


def _held(kept: Kept, looked: Looked) -> int | None:
    """Requests of the part that a run drew its sample from; None where its file is gone."""
    part = looked.run.part
    with suppress(InputError):
        return len(kept.file_of(looked.run).ids({part} if part else None))
    return None


def _filter(request: Request) -> Filter:
    given = request.query_params.get("show", "")
    return next((name for name in FILTERS if name == given), "all")


def mark(request_id: str) -> str:
    """An id that an element of a page may have, whatever a request is called."""
    return "r" + hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _address(run_id: str, change: RequestChange, which: str) -> str:
    return f"/sample/{run_id}?show={which}&request={quote(change.request_id, safe='')}"


def metric_rows(report: Report) -> list[MetricRow]:
    """The metrics of a comparison of two, the judged one beside the reference."""
    rows = []
    judged = report.ranker(report.judged or EDIT)
    for name in report.metrics:
        base, _ = parse_metric(name)
        gap = judged.differences.get(name)
        rows.append(
            MetricRow(
                name,
                KINDS[base].short,
                cell_text(report.ranker(report.reference).cells[name]),
                cell_text(judged.cells[name]),
                gap_text(gap) if gap is not None else "-",
                gap.verdict if gap is not None else None,
            )
        )
    return rows


def request_values(kept: Kept, looked: Looked, request: Request) -> dict[str, Any]:
    run, name = looked.run, request.query_params.get("id", "")
    store = kept.holding(run.run_id)
    asked = kept.request(run, name)
    saved = store.rankings.scores(run.saved_key, [name])
    edit = store.rankings.scores(run.edit_key, [name])
    task = kept.desk.task(run.task).opened.task
    candidates = stood(task, asked, saved, edit)
    errors = [
        (side, row)
        for side, key in ((SAVED, run.saved_key), (EDIT, run.edit_key))
        for row in store.rankings.errors(key, [name])
    ]
    known = {each.candidate_id for each in candidates}
    given = request.query_params.get("candidate", "")
    candidate = given if given in known else most_moved(candidates)
    changed, reason = None, ""
    try:
        rankers = kept.rankers(run)
        changed = sections(rankers[SAVED], rankers[EDIT], asked, candidate)
    except InputError as error:
        reason = str(error)
    changes = looked.seen.changes if looked.seen is not None else ()
    return {
        "run": run,
        "request": asked,
        "change": next((each for each in changes if each.request_id == name), None),
        "metric": metric_of_a_request(task).name,
        "candidates": candidates,
        "more": len(asked.candidates) - len(candidates),
        "candidate": candidate,
        "sections": changed,
        "reason": reason,
        "errors": errors,
        "one_question": len(task.questions) == 1,
    }
