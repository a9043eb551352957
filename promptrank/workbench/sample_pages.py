"""The page Sample: an edit beside the saved version on many requests, as it is ranked."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from promptrank.errors import DataError, InputError
from promptrank.evaluation.report_numbers import gap_text
from promptrank.requests.source import RequestFile
from promptrank.serve.refused import refuse
from promptrank.workbench.beside_saved import (
    EDIT,
)
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.doorway import Way
from promptrank.workbench.drawing import fragment, page
from promptrank.workbench.exporting import KINDS_OF_EXPORT, exported
from promptrank.workbench.kept_runs import Kept, Looked
from promptrank.workbench.posted import fields_of
from promptrank.workbench.sample_values import request_values, run_values, status_values
from promptrank.workspace.drafts import TaskTexts
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import PARTS

SIZES = (20, 50, 100)


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
        values = await asyncio.to_thread(run_values, kept, task, looked, request)
        return page(desk, request, "sample_run.html.jinja", task=task, **values)

    async def status(request: Request) -> Response:
        looked = await _looked(kept, request)
        values = status_values(kept, looked)
        shown = fragment("sample_status.html.jinja", **values)
        if request.query_params.get("look") != values["look"]:
            shown.headers["HX-Trigger"] = "looked"
        return shown

    async def results(request: Request) -> Response:
        looked = await _looked(kept, request)
        task = desk.task(looked.run.task)
        values = await asyncio.to_thread(run_values, kept, task, looked, request)
        return fragment("sample_results.html.jinja", **values)

    async def one(request: Request) -> Response:
        looked = await _looked(kept, request)
        values = await asyncio.to_thread(request_values, kept, looked, request)
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
