"""The page Edit: a task's words on the left, and what they make of a request on the right."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from promptrank.workbench.checking import Draft
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.doorway import Way
from promptrank.workbench.drawing import fragment, markup, page
from promptrank.workbench.live import LiveRanked, LiveRanking, Previewed
from promptrank.workbench.moves import changed_fragments, differences, moves_of
from promptrank.workbench.posted import fields_of
from promptrank.workbench.prompt_view import TITLES, view_of
from promptrank.workbench.request_choice import CANDIDATES


def ways(desk: Desk) -> list[Way]:
    """The paths of the page."""
    live = LiveRanking(desk)

    async def edit(request: Request) -> Response:
        task = desk.task(request.query_params.get("task"))
        saved = task.saved()
        fields = {
            name: request.query_params.get(name, "") for name in ("source", "part", "request")
        }
        choice = await asyncio.to_thread(live.shelf.choose, task, fields)
        return page(desk, request, "edit.html.jinja", task=task, saved=saved, choice=choice)

    async def tried(request: Request) -> Response:
        fields = await fields_of(request)
        task = desk.task(fields.get("task"))
        return StreamingResponse(_lines(live, task, fields), media_type="application/x-ndjson")

    async def chosen(request: Request) -> Response:
        fields = await fields_of(request)
        task = desk.task(fields.get("task"))
        choice = await asyncio.to_thread(live.shelf.choose, task, fields)
        return fragment("edit_choice.html.jinja", task=task, choice=choice)

    async def prompted(request: Request) -> Response:
        fields = await fields_of(request)
        task = desk.task(fields.get("task"))
        seen = await asyncio.to_thread(live.previewed, task, fields)
        return fragment("edit_prompt.html.jinja", **_prompt(seen, fields))

    async def compared(request: Request) -> Response:
        fields = await fields_of(request)
        task = desk.task(fields.get("task"))
        seen = await asyncio.to_thread(live.previewed, task, fields)
        told = (
            differences(seen.saved_preview, seen.preview, fields.get("moved", ""))
            if seen.saved_preview is not None
            else []
        )
        return fragment("edit_difference.html.jinja", differences=told)

    return [
        Way("/edit", edit),
        Way("/edit/try", tried, posts=True),
        Way("/edit/request", chosen, posts=True),
        Way("/edit/prompt", prompted, posts=True),
        Way("/edit/difference", compared, posts=True),
    ]


async def _lines(
    live: LiveRanking, task: DeskTask, fields: Mapping[str, str]
) -> AsyncIterator[bytes]:
    """A line of JSON for each thing to show."""
    shown: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
        "status": lambda text: {"text": text},
        "failed": lambda text: {"text": text},
        "waiting": lambda text: {"text": text},
        "checked": _checked,
        "prompt": lambda seen: {"html": markup("edit_prompt.html.jinja", **_prompt(seen, fields))},
        "ranked": partial(_ranked, task),
    }
    telling = live.tried(task, fields)
    try:
        async for kind, value in telling:
            line = {"kind": kind, **shown[kind](value)}
            yield orjson.dumps(line) + b"\n"
    finally:
        await telling.aclose()


def _checked(draft: Draft) -> dict[str, Any]:
    lines: dict[str, list[int]] = {"task": [], "template": []}
    for misfit in draft.misfits:
        if misfit.where != "elsewhere" and misfit.line is not None:
            lines[misfit.where].append(misfit.line)
    return {
        "html": markup("edit_checks.html.jinja", draft=draft),
        "lines": lines,
        "fine": not draft.misfits,
    }


def _prompt(seen: Previewed, fields: Mapping[str, str]) -> dict[str, Any]:
    assert seen.draft.ranker is not None and seen.draft.ranker.encoder is not None
    view = view_of(seen.draft.ranker.encoder, seen.preview, fields.get("candidate"))
    return {"view": view, "errors": seen.preview.encoded.errors, "request": seen.request}


def _ranked(task: DeskTask, ranked: LiveRanked) -> dict[str, Any]:
    seen, ranking = ranked.seen, ranked.ranking
    assert seen.draft.opened is not None
    changed: Mapping[str, list[str]] = {}
    if seen.saved_preview is not None and not seen.same:
        changed = changed_fragments(seen.saved_preview, seen.preview)
    moves = moves_of(seen.draft.opened.task, ranking, ranked.saved, changed)
    everywhere = [
        title
        for title in TITLES.values()
        if moves and all(title in moved.changed for moved in moves)
    ]
    html = markup(
        "edit_ranking.html.jinja",
        moves=moves,
        everywhere=everywhere,
        single=len(seen.draft.opened.task.questions) == 1,
        errors=[row for row in ranking.errors if row.candidate_id is not None],
        faults=[row for row in ranking.errors if row.candidate_id is None],
        same=seen.same,
        compared=ranked.saved is not None,
        comparable=seen.saved_preview is not None,
        first=CANDIDATES if len(seen.request.candidates) == CANDIDATES else None,
    )
    return {"html": html, "whole": seen.same or ranked.saved is not None}
