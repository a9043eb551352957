"""``promptrank rank``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.basics.stopping import if_stopped
from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say, say_once


def rank(
    task: options.TaskName,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .parquet or .jsonl file.")],
    requests: options.RequestFile = None,
    split: options.Splits = None,
    limit: options.Limit = None,
    engine: options.EngineName = "packed",
    model: options.ModelName = None,
    adapter: options.Adapter = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    allow_changed: options.AllowChanged = False,
    store: Annotated[
        bool,
        typer.Option("--store", help="Keep answers in teacher/, and take known ones from there."),
    ] = False,
) -> None:
    """Score and rank every candidate; without --split, the test part where the task has one.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from promptrank.api.rank import rank as run
    from promptrank.scores.scores import thin_answers

    with (
        if_stopped("the same command goes on where it was"),
        progress_bar("ranking", "requests") as progress,
    ):
        ranked = run(
            task,
            out,
            requests=requests,
            splits=set(split) if split else None,
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
            store=store,
            say=say_once(),
            progress=progress,
        )
    of = counted(ranked.requests, "request")
    say(f"{counted(ranked.candidates, 'candidate')} of {of} -> {ranked.path}")
    if ranked.removed:
        say(f"{ranked.removed:,} of them taken out by steps, which have no rank")
    if ranked.cut_events:
        say(f"{ranked.cut_events:,} history events did not fit their prompts")
    for note in ranked.notes:
        say(note)
    for name, mass in ranked.label_mass.items():
        say(f"{name}: the declared answers hold {mass:.1%} of the model's probability")
    for warning in thin_answers(ranked.label_mass):
        say(f"warning: {warning}")
    if ranked.errors:
        say(
            f"{counted(ranked.errors, 'row')} set aside, {counted(ranked.partial, 'ranking')} "
            f"partial -> {ranked.errors_path}"
        )
