"""``promptrank eval``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.basics.stopping import if_stopped
from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say_once, show

_OVER = "nothing was written; with --out the same command would go on where it was"


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
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    allow_changed: Annotated[
        bool,
        typer.Option("--allow-changed", help="Take --scores of other prompts than today's."),
    ] = False,
    vs: Annotated[
        list[str] | None,
        typer.Option(
            "--vs",
            help="Also compare with student:NAME, adapter:NAME, base, baseline:NAME, baseline:all, "
            "scores:FILE, or rrf:decoder+bm25.",
        ),
    ] = None,
    obscure: Annotated[
        list[str] | None,
        typer.Option(
            "--obscure",
            help="Also rank with made-up texts in this field, such as item.title. Repeatable.",
        ),
    ] = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            help="Compare again by history or item_events: how many there were. Repeatable.",
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 1000,
) -> None:
    """Rank a task's test part and compare with cheap baselines, with 95% intervals by subject.

    With --out the scores are kept beside the report, and a run that was stopped goes on where it
    was when the same command is given again; without it, nothing is kept.
    """
    from promptrank.api.evaluate import evaluate

    # With --out the scores go to a file beside the report, request by request.
    how = "the same command goes on where it was" if out is not None and scores is None else ""
    with if_stopped(how or _OVER), progress_bar("ranking", "requests") as progress:
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
            device=device,
            dtype=dtype,
            allow_changed=allow_changed,
            vs=vs or (),
            obscure=obscure or (),
            slices=slice_ or (),
            draws=draws,
            out=out,
            say=say_once(),
            progress=progress,
        )
    show(report)
