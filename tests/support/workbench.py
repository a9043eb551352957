"""The workbench for tests: an application over the toys, and calls as a browser makes them."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2 as httpx
from starlette.applications import Starlette

from promptrank.api.build import build
from promptrank.ranking.ranker import Ranker
from promptrank.runtime.runtime import Runtime
from promptrank.serve.app import make_app
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.key_file import Keys
from promptrank.serve.shapes.every import SHAPES
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workbench.found_requests import request_files_of
from promptrank.workbench.sessions import Sessions
from promptrank.workbench.site import pages
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.tasks import OpenTask, open_task
from support.serving import client

OURS = {"Sec-Fetch-Site": "same-origin"}


def desk_of(
    project: Path,
    tasks: Sequence[str] = ("toys/like",),
    *,
    engine: str = "fake",
    runtime: Runtime | None = None,
    keys: Keys | None = None,
    read_only: bool = False,
) -> Desk:
    """A desk over tasks that are loaded; the runtime is closed by whoever gives one."""
    own = runtime or Runtime()
    opened = [open_task(task, project=project) for task in tasks]

    def rank_draft(draft: OpenTask, adapter: str | None) -> Ranker:
        task = on_desk[draft.name]
        return open_ranker(
            draft,
            engine=engine,
            model=task.opened.task.model if task.words else None,  # as `serve` has it
            adapter=adapter,
            allow_changed=True,
            runtime=own,
        )

    on_desk = {
        each.name: DeskTask(each, engine, (), request_files_of(project, each.name))
        for each in opened
    }
    hosted = Hosted([each.name for each in opened])
    hosted.put([HostedTask(each.name, rank_draft(each, None)) for each in opened])
    sessions = Sessions(keys) if keys is not None else None
    return Desk(hosted, on_desk, rank_draft, project, read_only, sessions)


def app_on(desk: Desk, **options: Any) -> Starlette:
    return make_app(desk.hosted, SHAPES, pages=pages(desk), **options)


def build_requests(project: Path, task: str = "toys/like", name: str = "toys.parquet") -> Path:
    """A request file where the workbench finds it."""
    path = project / "requests" / name
    path.parent.mkdir(exist_ok=True)
    build(task, path, project=project)
    return path


def browse(
    app: Starlette,
    path: str,
    fields: Mapping[str, str] | None = None,
    headers: Mapping[str, str] = OURS,
    cookies: dict[str, str] | None = None,
) -> httpx.Response:
    """One call, as a page of the server makes it; with fields a post. No redirect is followed."""

    async def run() -> httpx.Response:
        async with client(app) as http:
            http.cookies.update(dict(cookies or {}))
            if fields is None:
                return await http.get(path, headers=dict(headers))
            return await http.post(path, data=dict(fields), headers=dict(headers))

    return asyncio.run(run())
