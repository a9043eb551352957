"""``promptrank build``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.cli import options
from promptrank.cli.terminal import say, say_once


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
    """Build a task's requests from its tables into a file (format: docs/reference/requests.md)."""
    from promptrank.api.build import build as run

    built = run(
        task,
        out,
        splits=set(split) if split else None,
        limit=limit,
        project=project,
        settings=set_,
        say=say_once(),
    )
    for part, count in built.requests.items():
        say(f"{part}: {counted(count, 'request')}, {counted(built.candidates[part], 'candidate')}")
    for note in built.notes:
        say(note)
    for reason, count in built.errors.items():
        say(f"{counted(count, 'row')} set aside: {reason} -> {built.errors_path}")
    say(f"-> {built.path}")
