"""Commands that work on requests: ``build``, ``rank``, ``eval``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say, show


def build(
    task: options.TaskName,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .parquet or .jsonl file.")],
    split: options.Splits = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most this many requests of each part.")
    ] = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
) -> None:
    """Build a task's requests from its tables into a file (format: docs/requests.md)."""
    from promptrank.api.build import build as run

    built = run(
        task,
        out,
        splits=set(split) if split else None,
        limit=limit,
        project=project,
        settings=set_,
        say=say,
    )
    for part, count in built.requests.items():
        say(f"{part}: {count:,} requests, {built.candidates[part]:,} candidates")
    for note in built.notes:
        say(note)
    for reason, count in built.errors.items():
        say(f"{count:,} rows set aside: {reason} -> {built.errors_path}")
    say(f"-> {built.path}")


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

    with progress_bar("ranking", "requests") as progress:
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
            allow_changed=allow_changed,
            store=store,
            say=say,
            progress=progress,
        )
    say(f"{ranked.candidates:,} candidates of {ranked.requests:,} requests -> {ranked.path}")
    if ranked.cut_events:
        say(f"{ranked.cut_events:,} history events did not fit their prompts")
    for note in ranked.notes:
        say(note)
    for name, mass in ranked.label_mass.items():
        say(f"{name}: the answers hold {mass:.1%} of the probability")
    if ranked.errors:
        say(
            f"{ranked.errors:,} rows set aside, {ranked.partial:,} rankings partial"
            f" -> {ranked.errors_path}"
        )


def eval_(
    task: options.TaskName,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the report as JSON here.")
    ] = None,
    requests: options.RequestFile = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="Scores that `rank` wrote; nothing is scored.")
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
            vs=vs or (),
            draws=draws,
            out=out,
            say=say,
            progress=progress,
        )
    show(report)
