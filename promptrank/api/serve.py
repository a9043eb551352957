"""``serve``: tasks over HTTP, one runtime for all of them."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.hints import near
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.errors import InputError
from promptrank.runtime.runtime import Runtime
from promptrank.workspace.look_ups import open_look_up
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.ranking.ranker import Ranker
    from promptrank.serve.hosted import HostedTask
    from promptrank.tables.look_up import LookUp

HOST, PORT, QUEUE, CANDIDATES = "127.0.0.1", 8000, 64, 1000
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
    say: Say = silent,
    log: Say = silent,
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
        log: is given a line of JSON for every request.

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
    from promptrank.serve.app import LOOPBACK, make_app
    from promptrank.serve.bounds import Bounds
    from promptrank.serve.hosted import Hosted
    from promptrank.serve.key_file import read_keys
    from promptrank.serve.reading_again import on_hangup
    from promptrank.serve.running import listen, run
    from promptrank.serve.shapes.every import SHAPES

    opened = [open_task(task, project=project, settings=settings) for task in tasks]
    names = [each.name for each in opened]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise InputError(f"{', '.join(twice)}: named twice" if twice else "name a task to serve")
    engine_of = _by_task("--engine", engines, names, "packed")
    adapter_of = _by_task("--adapter", adapters, names, None)
    if host not in _LOOPBACK and key_file is None:
        raise InputError(
            f"--host {host}: others could reach it, so it needs keys; name a file with one a line "
            "by --key-file"
        )
    reads = _reads(tables, names)
    keys = read_keys(expanded(key_file)) if key_file is not None else None
    listening = listen(host, port)
    hosted = Hosted(names)
    look_ups: dict[str, LookUp] = {}
    with Runtime() as runtime, ExitStack() as stack, on_hangup(look_ups, say):

        def load() -> "list[HostedTask]":
            for each in opened:
                if each.name in reads:
                    look_ups[each.name] = stack.enter_context(open_look_up(each, say=say))
            return [
                _served(
                    each,
                    engine_of[each.name] or "packed",
                    adapter_of[each.name],
                    partial(
                        open_ranker,
                        model=model,
                        threads=threads,
                        device=device,
                        dtype=dtype,
                        allow_changed=allow_changed,
                        runtime=runtime,
                        say=say,
                    ),
                    look_ups.get(each.name),
                )
                for each in opened
            ]

        make = partial(
            make_app,
            hosted,
            SHAPES,
            bounds=Bounds(queue=queue, candidates=candidates),
            keys=keys,
            hosts=LOOPBACK if keys is None else None,
            log=log,
        )
        say(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}")
        run(lambda lifespan: make(lifespan=lifespan), hosted, load, listening, say)


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
