"""The page Sample: an edit beside the saved version on many requests, as it is ranked."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from promptrank.errors import DataError, InputError
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_numbers import cell_text, gap_text
from promptrank.requests.source import RequestFile
from promptrank.schema.metric_kinds import KINDS
from promptrank.schema.metric_names import parse_metric
from promptrank.serve.refused import refuse
from promptrank.workbench.beside_saved import (
    EDIT,
    FILTERS,
    SAVED,
    Filter,
    RequestChange,
    certainty,
    metric_of_a_request,
)
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.doorway import Way
from promptrank.workbench.drawing import fragment, page
from promptrank.workbench.exporting import KINDS_OF_EXPORT, exported
from promptrank.workbench.kept import Kept, Looked
from promptrank.workbench.posted import fields_of
from promptrank.workbench.prompts_apart import most_moved, sections, stood
from promptrank.workbench.versions import RUNNING
from promptrank.workspace.drafts import TaskTexts
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import PARTS

SIZES = (20, 50, 100)
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


def ways(desk: Desk, kept: Kept) -> list[Way]:
    """The paths of the page."""

    async def begin(request: Request) -> Response:
        task = desk.task(request.query_params.get("task"))
        values = await asyncio.to_thread(_start_values, kept, task)
        return page(desk, request, "sample.html.jinja", task=task, **values)

    async def start(request: Request) -> Response:
        task = desk.task(request.query_params.get("task"))
        fields = await fields_of(request)
        seats = request.app.state.answering.seats
        made = await asyncio.to_thread(
            _begin, kept, task, fields, lambda: seats.waiting + seats.under_way > 0
        )
        return _to(request, f"/sample/{made}")

    async def run(request: Request) -> Response:
        looked = await _looked(kept, request)
        task = desk.task(looked.run.task)
        values = await asyncio.to_thread(_run_values, kept, task, looked, request)
        return page(desk, request, "sample_run.html.jinja", task=task, **values)

    async def status(request: Request) -> Response:
        looked = await _looked(kept, request)
        values = _status_values(kept, looked)
        shown = fragment("sample_status.html.jinja", **values)
        if request.query_params.get("look") != values["look"]:
            shown.headers["HX-Trigger"] = "looked"
        return shown

    async def results(request: Request) -> Response:
        looked = await _looked(kept, request)
        task = desk.task(looked.run.task)
        values = await asyncio.to_thread(_run_values, kept, task, looked, request)
        return fragment("sample_results.html.jinja", **values)

    async def one(request: Request) -> Response:
        looked = await _looked(kept, request)
        values = await asyncio.to_thread(_request_values, kept, looked, request)
        return fragment("sample_request.html.jinja", **values)

    async def stop(request: Request) -> Response:
        live = kept.live(request.path_params["run"])
        if live is not None:
            live.stop()
        return _to(request, f"/sample/{request.path_params['run']}")

    async def export(request: Request) -> Response:
        looked = await _looked(kept, request)
        kind = request.path_params["kind"]
        if kind not in KINDS_OF_EXPORT:
            raise refuse(404, "not_served", f"exports are {', '.join(KINDS_OF_EXPORT)}")
        return await asyncio.to_thread(exported, kept, looked, kind)

    return [
        Way("/sample", begin),
        Way("/sample/start", start, posts=True),
        Way("/sample/{run}", run),
        Way("/sample/{run}/status", status),
        Way("/sample/{run}/results", results),
        Way("/sample/{run}/request", one),
        Way("/sample/{run}/stop", stop, posts=True),
        Way("/sample/{run}/export.{kind}", export),
    ]


async def _looked(kept: Kept, request: Request) -> Looked:
    try:
        return await asyncio.to_thread(kept.looked, request.path_params["run"])
    except DataError as error:
        raise refuse(404, "no_such_run", str(error)) from None


def _to(request: Request, path: str) -> Response:
    """On to a page, whether a script or a form has asked."""
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"HX-Redirect": path})
    return RedirectResponse(path, 303)


# -- beginning -----------------------------------------------------------------------------------


def _start_values(kept: Kept, task: DeskTask) -> dict[str, Any]:
    runs = kept.every(task.name)
    parts: list[tuple[str, int]] = []
    if task.request_files:
        file = given_file(task.opened, task.request_files[0])
        parts = _parts(task, file)
    return {
        "saved": task.saved(),
        "sizes": SIZES,
        "parts": parts,
        "runs": [run for run in runs if run.request_ids][:20],
        "versions": [run for run in runs if run.edit != run.saved][:50],
        "headline": {
            run.run_id: _headline(kept, run.run_id) for run in runs[:20] if run.request_ids
        },
    }


def _parts(task: DeskTask, file: RequestFile) -> list[tuple[str, int]]:
    """Parts of the split that have requests, those to look at first; an empty name is all."""
    if task.opened.task.split is None:
        return [("", len(file.ids()))]
    counts = [(name, len(file.ids({name}))) for name in ("test", "valid", "train")]
    assert {name for name, _ in counts} == set(PARTS)
    return [(name, count) for name, count in counts if count]


def _headline(kept: Kept, run_id: str) -> str:
    """What a run found, in few words."""
    try:
        report = kept.holding(run_id).versions.report(run_id)
    except InputError:
        return ""
    if report is None or report.verdict is None or report.verdict.metric is None:
        return ""
    metric = report.verdict.metric
    gap = report.ranker(EDIT).differences.get(metric)
    return f"{metric} {gap_text(gap)}" if gap is not None else ""


def _begin(kept: Kept, task: DeskTask, fields: dict[str, str], busy: Callable[[], bool]) -> str:
    if not task.words:
        raise InputError("a student ranks this task; it reads fields, and no template words them")
    if not task.request_files:
        raise InputError(f"no request file of {task.name} here; `promptrank build` writes one")
    version = fields.get("version", "")
    edit = kept.run(version).edit if version else drafted_texts(task, fields)
    size = fields.get("size", str(SIZES[0]))
    if size != "all" and not (size.isascii() and size.isdigit() and 0 < int(size[:9]) <= 100_000):
        raise InputError(f"size: {size[:20]!r} is no number of requests; choose one of the page's")
    part = fields.get("part") or None
    made = kept.begin(
        task,
        edit,
        part=part,
        size=None if size == "all" else int(size),
        file=_file(task, fields.get("file", "")),
        busy=busy,
    )
    return made.run.run_id


def drafted_texts(task: DeskTask, fields: dict[str, str]) -> TaskTexts:
    """The texts that the editor, or a page beside it, sends.

    Raises:
        InputError: one is empty.
    """
    edit = TaskTexts(
        fields.get("task_text", ""), fields.get("template_text", ""), task.saved().template_name
    )
    if not edit.task.strip() or not edit.template.strip():
        raise InputError("the task or the template is empty; open the editor again")
    return edit


def _file(task: DeskTask, name: str) -> Path:
    return next((path for path in task.request_files if path.name == name), task.request_files[0])


# -- a run ---------------------------------------------------------------------------------------


def _status_values(kept: Kept, looked: Looked) -> dict[str, Any]:
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


def _run_values(kept: Kept, task: DeskTask, looked: Looked, request: Request) -> dict[str, Any]:
    which = _filter(request)
    seen = looked.seen
    changes = seen.changes if seen is not None else ()
    report = seen.report if seen is not None else None
    values = _status_values(kept, looked)
    values |= {
        "seen": seen,
        "report": report,
        "certain": certainty(report) if report is not None else None,
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


def _request_values(kept: Kept, looked: Looked, request: Request) -> dict[str, Any]:
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
