"""``serve``: tasks over HTTP, one runtime for all of them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.adapters.alias import is_alias
from promptrank.basics.hints import near
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.errors import InputError
from promptrank.project import open_project
from promptrank.runtime.runtime import Runtime
from promptrank.workspace.kept_scores import CacheChoice, check_weights_known, score_cache
from promptrank.workspace.look_ups import open_look_up
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.shadows import open_shadow, parse_shadows
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.ranking.ranker import Ranker
    from promptrank.serve.hosted import Hosted, HostedTask
    from promptrank.serve.key_file import Keys
    from promptrank.serve.page_route import PageRoute
    from promptrank.tables.look_up import LookUp
    from promptrank.workbench.desk import DeskTask

HOST, PORT, QUEUE, CANDIDATES = "127.0.0.1", 8000, 64, 1000
WORKBENCH = ("on", "read-only", "off")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    tasks: Sequence[str | OpenTask],
    *,
    engines: Sequence[str] = (),
    adapters: Sequence[str] = (),
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    allow_changed: bool = False,
    host: str = HOST,
    port: int = PORT,
    key_file: str | Path | None = None,
    queue: int = QUEUE,
    candidates: int = CANDIDATES,
    tables: Sequence[str] = (),
    log_folder: str | Path | None = None,
    shadows: Sequence[str] = (),
    workbench: str = "on",
    requests: Sequence[str] = (),
    say: Say = silent,
    log: Say = silent,
    with_text: bool = False,
    cache: CacheChoice = False,
) -> None:
    """Answer requests over HTTP until SIGTERM or Ctrl-C, and then what is under way.

    Args:
        tasks: names or paths; the first one is ranked by where a request names none.
        engines: ``NAME`` for every task or ``TASK=NAME`` for one; as of `open_ranker`.
        adapters: the same for adapters.
        host: an address of this machine; one that others can reach needs a key file.
        port: 0 for any that is free; ``say`` is told which.
        key_file: keys, one a line, of which a client shows one.
        queue: requests that may wait; further ones are told to come again.
        candidates: of one request, at most.
        tables: tasks whose tables are read, so that requests may name ids alone; ``all`` for every
            task.
        log_folder: where requests and answers are kept, for `replay`, `join` and `evaluate`; they
            hold what members sent.
        shadows: ``adapter:NAME=SHARE``, ``student:NAME=SHARE`` or ``base=SHARE`` for every task, or
            ``TASK=adapter:NAME=SHARE`` for one: a share of the requests is scored a second time
            for the log.
        workbench: whether there are pages for people at ``/``: ``on``, ``read-only`` or ``off``.
        requests: request files that the pages choose from, ``FILE`` or ``TASK=FILE``; those that
            `build` left in the project are looked up.
        log: is given a line of JSON for every request.
        with_text: whether that line has what was sent.
        cache: answer from the score cache what it knows, and add to it what it does not: True for
            the project's, or a folder.

    Raises:
        InputError: whatever in the input keeps it from serving.
    """
    missing = [
        name for name in ("prometheus_client", "starlette", "uvicorn") if find_spec(name) is None
    ]
    if missing:
        raise InputError(
            f"serving needs {' and '.join(missing)}, not installed here; "
            "pip install 'promptrank[serve]'"
        )
    from promptrank.serve.alias_watch import AliasWatch, FollowedAlias
    from promptrank.serve.app import LOOPBACK, make_app
    from promptrank.serve.bounds import Bounds
    from promptrank.serve.hosted import Hosted
    from promptrank.serve.key_file import read_keys
    from promptrank.serve.reading_again import on_hangup
    from promptrank.serve.running import listen, run
    from promptrank.serve.serving_log import ServingLog
    from promptrank.serve.shadow import Shadow, Shadows
    from promptrank.serve.shapes.every import SHAPES
    from promptrank.serve.spans import open_spans

    opened = [open_task(task, project=project, settings=settings) for task in tasks]
    names = [each.name for each in opened]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise InputError(f"{', '.join(twice)}: named twice" if twice else "name a task to serve")
    engine_of = _by_task("--engine", engines, names, "packed")
    for name in names:
        check_weights_known(engine_of[name] or "packed", cache)
    adapter_of = _by_task("--adapter", adapters, names, None)
    file_of = _by_task("--requests", requests, names, None)
    if workbench not in WORKBENCH:
        raise InputError(f"--workbench {workbench}: one of {', '.join(WORKBENCH)}")
    if workbench == "off" and requests:
        raise InputError("--requests: only pages read them, and --workbench off leaves these out")
    if host not in _LOOPBACK and key_file is None:
        raise InputError(
            f"--host {host}: others could reach it, so it needs keys; name a file with one a line "
            "by --key-file"
        )
    reads = _reads(tables, names)
    keys = read_keys(expanded(key_file)) if key_file is not None else None
    spans = open_spans()
    wanted_shadows = parse_shadows(shadows, names)
    if wanted_shadows and log_folder is None:
        raise InputError("--shadow: its scores go into the log; name its folder by --log")
    desk_tasks = _desk_tasks(opened, engine_of, file_of, settings, say)
    listening = listen(host, port)
    hosted = Hosted(names, restarts := Restarts(say))
    look_ups: dict[str, LookUp] = {}
    with (
        score_cache(open_project(project).root, cache, say) as kept,
        Runtime(restarts, stepping=True, cache=kept) as runtime,
        ExitStack() as stack,
        on_hangup(look_ups, say),
    ):
        serving_log, shadowing = None, None
        if log_folder is not None:
            serving_log = stack.enter_context(closing(ServingLog(expanded(log_folder), say=say)))
            shadowing = Shadows(serving_log, say) if wanted_shadows else None
        open_ = partial(
            open_ranker,
            model=model,
            threads=threads,
            device=device,
            dtype=dtype,
            allow_changed=allow_changed,
            runtime=runtime,
            say=say,
        )
        by_name = {each.name: each for each in opened}

        def load_task(name: str) -> "HostedTask":
            engine = engine_of[name] or "packed"
            return _served(by_name[name], engine, adapter_of[name], open_, look_ups.get(name))

        def load() -> "list[HostedTask]":
            for name in reads:
                look_ups[name] = stack.enter_context(open_look_up(by_name[name], say=say))
            loaded = [load_task(name) for name in names]
            for shadow in wanted_shadows:
                if shadowing is not None:
                    engine = engine_of[shadow.task] or "packed"
                    ranker = open_shadow(by_name[shadow.task], shadow, engine, open_)
                    shadowing.add(shadow.task, Shadow(shadow.name, shadow.share, ranker))
            return loaded

        followed = {
            name: FollowedAlias(adapter, by_name[name].project / "adapters")
            for name, adapter in adapter_of.items()
            if adapter is not None and is_alias(adapter) and not Path(adapter).exists()
        }
        watch = AliasWatch(hosted, followed, load_task, runtime.unload_unused, log)

        make = partial(
            make_app,
            hosted,
            SHAPES,
            bounds=Bounds(queue=queue, candidates=candidates),
            keys=keys,
            hosts=LOOPBACK if keys is None else None,
            pages=_pages(hosted, desk_tasks, open_, model, project, keys, workbench),
            log=log,
            with_text=with_text,
            spans=spans,
            serving_log=serving_log,
            shadows=shadowing,
        )
        say(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}")
        run(
            lambda span: make(lifespan=watch.within(span)),
            hosted,
            load,
            listening,
            say,
            runtime.mend,
        )


def _served(
    opened: OpenTask,
    engine: str,
    adapter: str | None,
    open_: "Callable[..., Ranker]",
    tables: "LookUp | None",
) -> "HostedTask":
    from promptrank.serve.hosted import HostedTask

    ranker = open_(opened, engine=engine, adapter=adapter)
    return HostedTask(opened.name, ranker, adapter, opened.task.description, tables)


def _reads(tables: Sequence[str], names: Sequence[str]) -> set[str]:
    """The tasks whose tables are read."""
    for name in tables:
        if name not in (*names, "all"):
            raise InputError(f"--tables {name}: no task {name!r} is served; {near(name, names)}")
    return set(names) if "all" in tables else set(tables)


def _desk_tasks(
    tasks: Sequence[OpenTask],
    engine_of: Mapping[str, str | None],
    file_of: Mapping[str, str | None],
    settings: list[str] | None,
    say: Say,
) -> "dict[str, DeskTask]":
    from promptrank.workbench.desk import DeskTask
    from promptrank.workbench.found_requests import (
        named_request_file,
        readable_files,
        request_files_of,
    )

    names = [each.name for each in tasks]

    def files(opened: OpenTask) -> tuple[Path, ...]:
        given = file_of[opened.name]
        if given is None:
            return readable_files(opened, request_files_of(opened.project, opened.name), say)
        return (named_request_file(opened, given, names),)

    return {
        each.name: DeskTask(
            each, engine_of[each.name] or "packed", tuple(settings or ()), files(each)
        )
        for each in tasks
    }


def _pages(
    hosted: "Hosted",
    tasks: "dict[str, DeskTask]",
    open_: "Callable[..., Ranker]",
    model: str | None,
    project: str | Path | None,
    keys: "Keys | None",
    workbench: str,
) -> "Sequence[PageRoute]":
    """The workbench, over the same runtime as what answers requests."""
    if workbench == "off":
        return ()
    from promptrank.workbench.desk import Desk
    from promptrank.workbench.sessions import Sessions
    from promptrank.workbench.site import pages

    def rank_draft(opened: OpenTask, adapter: str | None) -> "Ranker":
        task = tasks[opened.name]
        return open_(
            opened,
            engine=task.engine,
            # No draft has another model fetched and held in memory.
            model=None if not task.words else model or task.opened.task.model,
            adapter=adapter,
            allow_changed=True,
            say=silent,
        )

    return pages(
        Desk(
            hosted,
            tasks,
            rank_draft,
            open_project(project).root,
            read_only=workbench == "read-only",
            sessions=Sessions(keys) if keys is not None else None,
        )
    )


def _by_task(
    option: str, values: Sequence[str], names: Sequence[str], default: str | None
) -> dict[str, str | None]:
    """Each task's own value: that of ``TASK=VALUE``, else of ``VALUE``, else the default."""
    by_task: dict[str, str] = {}
    for value in values:
        task, equals, own = value.partition("=")
        if equals and task not in names:
            raise InputError(f"{option} {value}: no task {task!r} is served; {near(task, names)}")
        for name in [task] if equals else names:
            # What names a task goes before what names none, in any order.
            if equals or name not in by_task:
                by_task[name] = own if equals else value
    return {name: by_task.get(name, default) for name in names}
