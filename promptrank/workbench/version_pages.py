"""The page Versions: what was tried, side by side, named, restored, and written to the files."""

import asyncio
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from promptrank.errors import DataError, InputError
from promptrank.project import Project
from promptrank.requests.source import Sample
from promptrank.serve.refused import refuse
from promptrank.workbench.beside_saved import certainty, report_of_edit
from promptrank.workbench.checking import DraftChecks
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.doorway import Way
from promptrank.workbench.drawing import page
from promptrank.workbench.kept_runs import Kept
from promptrank.workbench.posted import fields_of
from promptrank.workbench.sample_pages import drafted_texts
from promptrank.workbench.sample_values import metric_rows
from promptrank.workbench.text_diff import differing
from promptrank.workbench.versions import KEPT, KEPT_ONLY, LONGEST_NAME, KeptRun
from promptrank.workbench.writing import (
    FileText,
    Held,
    held,
    place_of_task,
    place_of_template,
    sharing,
    text_digest,
    write_texts,
)

_ONE, _OTHER = "first", "second"


def ways(desk: Desk, kept: Kept) -> list[Way]:
    """The paths of the page."""
    checks = DraftChecks(desk)

    async def every(request: Request) -> Response:
        task = desk.task(request.query_params.get("task"))
        runs = await asyncio.to_thread(kept.every, task.name)
        values: dict[str, Any] = {"runs": runs, "most": KEPT, "place": kept.path}
        return page(desk, request, "versions.html.jinja", task=task, **values)

    async def compare(request: Request) -> Response:
        names = [request.query_params.get(side, "") for side in ("one", "other")]
        if not all(names):
            raise refuse(422, "wrong_input", "choose a first and a second version to compare")
        one, other = [await _run(kept, name) for name in names]
        task = desk.task(one.task)
        values = await asyncio.to_thread(_beside_each_other, kept, one, other)
        return page(desk, request, "versions_compare.html.jinja", task=task, **values)

    async def version(request: Request) -> Response:
        run = await _run(kept, request.path_params["run"])
        task = desk.task(run.task)
        values: dict[str, Any] = {
            "run": run,
            "template_rows": differing(run.saved.template, run.edit.template),
            "task_rows": differing(run.saved.task, run.edit.task),
            "longest": LONGEST_NAME,
        }
        return page(desk, request, "version.html.jinja", task=task, **values)

    async def keep(request: Request) -> Response:
        task = desk.task(request.query_params.get("task"))
        fields = await fields_of(request)
        run = await asyncio.to_thread(_kept_draft, kept, checks, task, fields)
        return _to(request, f"/versions/{run.run_id}/write")

    async def rename(request: Request) -> Response:
        run = await _run(kept, request.path_params["run"])
        fields = await fields_of(request)
        versions = kept.holding(run.run_id).versions
        versions.rename(run.run_id, fields.get("name", ""), fields.get("note", ""))
        return _to(request, f"/versions/{run.run_id}")

    async def delete(request: Request) -> Response:
        run = await _run(kept, request.path_params["run"])
        await asyncio.to_thread(kept.delete, run.run_id)
        return _to(request, f"/versions?task={run.task}")

    async def look(request: Request) -> Response:
        run = await _run(kept, request.path_params["run"])
        task = desk.task(run.task)
        values = await asyncio.to_thread(_files, checks, desk, task, run)
        return page(desk, request, "version_write.html.jinja", task=task, **values)

    async def write(request: Request) -> Response:
        run = await _run(kept, request.path_params["run"])
        task = desk.task(run.task)
        fields = await fields_of(request)
        conflicts = await asyncio.to_thread(_written, checks, task, run, fields)
        values = await asyncio.to_thread(_files, checks, desk, task, run)
        values |= {"again": bool(conflicts), "written": not conflicts}
        status = 409 if conflicts else 200
        return page(desk, request, "version_write.html.jinja", status, task=task, **values)

    return [
        Way("/versions", every),
        Way("/versions/compare", compare),
        Way("/versions/keep", keep, posts=True, writes=True),
        Way("/versions/{run}", version),
        Way("/versions/{run}/name", rename, posts=True, writes=True),
        Way("/versions/{run}/delete", delete, posts=True, writes=True),
        Way("/versions/{run}/write", look),
        Way("/versions/{run}/write", write, posts=True, writes=True),
    ]


async def _run(kept: Kept, name: str) -> KeptRun:
    try:
        return await asyncio.to_thread(kept.run, name)
    except DataError as error:
        raise refuse(404, "no_such_run", str(error)) from None


def _to(request: Request, path: str) -> Response:
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"HX-Redirect": path})
    return RedirectResponse(path, 303)


def _kept_draft(kept: Kept, checks: DraftChecks, task: DeskTask, fields: dict[str, str]) -> KeptRun:
    """Texts of the editor as a version, without ranking anything; none that would not work.

    ``of_template`` and ``of_task`` are what the files held when the draft was begun; where they are
    not given, what they hold now.
    """
    saved, edit = task.saved(), drafted_texts(task, fields)
    saved = replace(
        saved,
        template=fields.get("of_template") or saved.template,
        task=fields.get("of_task") or saved.task,
    )
    run = KeptRun(task.name, edit, saved, state=KEPT_ONLY)
    _check(checks, task, run)
    kept.keep(run)
    if fields.get("name", "").strip():
        kept.own().versions.rename(run.run_id, fields["name"], fields.get("note", ""))
    return run


# -- writing -------------------------------------------------------------------------------------


def _wanted(task: DeskTask, run: KeptRun) -> list[tuple[str, Held, str]]:
    """What the files of a version hold now, and what they would: (kind, now, text)."""
    places = (
        ("template", place_of_template(task.opened, run.edit.template_name), run.edit.template),
        ("task", place_of_task(task.opened), run.edit.task),
    )
    return [(kind, held(path), text) for kind, path, text in places]


def _files(checks: DraftChecks, desk: Desk, task: DeskTask, run: KeptRun) -> dict[str, Any]:
    """Each file beside the version's text, with what somebody changed in it meanwhile."""
    files = []
    for kind, now, text in _wanted(task, run):
        saved = run.saved.template if kind == "template" else run.saved.task
        built_in = not now.digest  # a copy will be made in the project
        same = now.text == text
        files.append(
            {
                "kind": kind,
                "path": _told(desk, now),
                "digest": now.digest,
                "new": built_in,
                "rows": differing(now.text, text) if now.digest else differing(saved, text),
                "same": same or (built_in and text == saved),
                "edited": text_digest(text) != text_digest(saved),
                "conflict": bool(now.digest) and now.digest != text_digest(saved) and not same,
                "meanwhile": differing(saved, now.text) if now.digest else [],
                "others": sharing(task.opened, now.path, Project(desk.project))
                if kind == "template"
                else [],
            }
        )
    return {
        "run": run,
        "files": files,
        "conflict": any(file["conflict"] for file in files),
        "nothing": all(file["same"] for file in files),
        "problem": _problem(checks, task, run),
        "again": False,
        "written": False,
    }


def _told(desk: Desk, file: Held) -> str:
    """A file as people of the project know it."""
    root = desk.project.resolve()
    place = file.path.absolute()
    return str(place.relative_to(root) if place.is_relative_to(root) else place)


def _problem(checks: DraftChecks, task: DeskTask, run: KeptRun) -> str:
    """What keeps a version from working; empty where nothing does."""
    from promptrank.prompt.template import load_template

    try:
        draft = task.drafted(run.edit)
        folders = draft.place.template_folders
        template = load_template(draft.task.template, folders, draft.drafts)
    except InputError as error:
        return str(error)
    if draft.task.template != run.edit.template_name:
        return (
            f"the version's task names the template {draft.task.template}, and its template is "
            f"{run.edit.template_name}; write the task by hand, and edit the other template then"
        )
    return "; ".join(checks.unsupplied(task, draft, template))


def _check(checks: DraftChecks, task: DeskTask, run: KeptRun) -> None:
    if problem := _problem(checks, task, run):
        raise InputError(f"nothing is written: {problem}")


def _written(
    checks: DraftChecks, task: DeskTask, run: KeptRun, fields: dict[str, str]
) -> list[Held]:
    """Write what was chosen; the files that somebody changed since the page was shown."""
    _check(checks, task, run)
    wanted = []
    for kind, now, text in _wanted(task, run):
        if fields.get(f"choice_{kind}") == "write" and now.text != text:
            # What the page showed is what was agreed to; a file that is new has no digest.
            wanted.append(FileText(now.path, text, fields.get(f"shown_{kind}", "")))
    return write_texts(wanted)


# -- two versions --------------------------------------------------------------------------------


def _beside_each_other(kept: Kept, one: KeptRun, other: KeptRun) -> dict[str, Any]:
    report, reason = None, ""
    try:
        report = _report(kept, one, other)
    except InputError as error:
        reason = str(error)
    return {
        "one": one,
        "other": other,
        "template_rows": differing(one.edit.template, other.edit.template),
        "task_rows": differing(one.edit.task, other.edit.task),
        "report": report,
        "metrics": metric_rows(report) if report is not None else [],
        "sentence": certainty(report).sentence if report is not None else "",
        "reason": reason,
    }


def _report(kept: Kept, one: KeptRun, other: KeptRun) -> Any:
    """The edits of two runs on the requests that both have ranked, paired."""
    if one.task != other.task:
        raise DataError("they are versions of different tasks")
    common = [name for name in one.request_ids if name in set(other.request_ids)]
    if not common:
        raise DataError("no request was ranked by both; run both on a sample of one part")
    scores = {
        side: kept.holding(run.run_id).rankings.scores(run.edit_key, common)
        for side, run in ((_ONE, one), (_OTHER, other))
    }
    ranked = set.intersection(*({key[0] for key in each.keys} for each in scores.values()))
    file = kept.file_of(one)
    sample = Sample(file, ids=ranked)
    return report_of_edit(file.task, sample, scores, reference=_ONE, judged=_OTHER)
