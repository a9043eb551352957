"""``promptrank eval``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say_once, show


def eval_(
    task: options.TaskName,
    out: options.ReportFile = None,
    requests: options.RequestFile = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="A scores file, by whoever; nothing is scored.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="The part to evaluate. Default: test.")
    ] = None,
    limit: options.Limit = None,
    engine: options.EngineName = "packed",
    model: options.ModelName = None,
    adapter: options.Adapter = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
    allow_changed: Annotated[
        bool,
        typer.Option("--allow-changed", help="Take --scores of other prompts than today's."),
    ] = False,
    vs: Annotated[
        list[str] | None,
        typer.Option(
            "--vs", help="Also compare with student:NAME, adapter:NAME, base or scores:FILE."
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 1000,
) -> None:
    """Rank a task's test part and compare with cheap baselines, with 95% intervals by subject."""
    from promptrank.api.evaluate import evaluate

    with progress_bar("ranking", "requests") as progress:
        report = evaluate(
            task,
            requests=requests,
            scores=scores,
            split=split,
            limit=limit,
            engine=engine,
            model=model,
            adapter=adapter,
            project=project,
            settings=set_,
            threads=threads,
            allow_changed=allow_changed,
            vs=vs or (),
            draws=draws,
            out=out,
            say=say_once(),
            progress=progress,
        )
    show(report)
