"""``promptrank serve``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.cli import cache_option, options
from promptrank.cli.terminal import say


def serve(
    tasks: Annotated[
        list[str],
        typer.Argument(metavar="TASK...", help="Tasks; the first where a request names none."),
    ],
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            help="packed (the default), vllm, plain, fake or student:NAME; TASK=NAME for one task.",
        ),
    ] = None,
    model: options.ModelName = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            help="An adapter's name, alias (movies@prod) or folder; TASK=NAME for one task.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", help="An address of this machine; others than itself need keys."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0 for any that is free.")
    ] = 8000,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file", help="Keys, one a line: clients send Authorization: Bearer KEY."
        ),
    ] = None,
    queue: Annotated[
        int, typer.Option("--queue", min=0, help="Requests that may wait; then 429.")
    ] = 64,
    max_candidates: Annotated[
        int, typer.Option("--max-candidates", min=1, help="Of one request.")
    ] = 1000,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--tables",
            metavar="TASK",
            help="Read the task's tables, so that requests may name ids alone; all for every task.",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="Keep requests and answers in this folder, as parquet."),
    ] = None,
    with_text: Annotated[
        bool,
        typer.Option("--with-text", help="What was sent stands in the log's line of a request."),
    ] = False,
    cache: cache_option.Cache = None,
    shadow: Annotated[
        list[str] | None,
        typer.Option(
            "--shadow",
            help="Score a share of the requests again for the log: adapter:new=0.1, student:NAME=1 "
            "or base=0.1; TASK=adapter:new=0.1 for one task. Repeatable.",
        ),
    ] = None,
    workbench: Annotated[
        str,
        typer.Option("--workbench", help="Pages for people at /: on, read-only or off."),
    ] = "on",
    requests: Annotated[
        list[str] | None,
        typer.Option(
            "--requests",
            help="A request file that the pages choose from; TASK=FILE for one task.",
        ),
    ] = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    allow_changed: options.AllowChanged = False,
) -> None:
    """Rank over HTTP, with our own API and those of Cohere, Jina, Voyage, TEI and vLLM."""
    from promptrank.api.serve import serve as run

    run(
        tasks,
        engines=engine or (),
        adapters=adapter or (),
        model=model,
        project=project,
        settings=set_,
        threads=threads,
        device=device,
        dtype=dtype,
        allow_changed=allow_changed,
        host=host,
        port=port,
        key_file=key_file,
        queue=queue,
        candidates=max_candidates,
        tables=tables or (),
        log_folder=log,
        shadows=shadow or (),
        workbench=workbench,
        requests=requests or (),
        say=say,
        log=say,
        with_text=with_text,
        cache=cache_option.chosen(cache),
    )
