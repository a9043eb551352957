"""``promptrank export``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say, say_once


def export(
    task: options.TaskName,
    to: Annotated[Path, typer.Option("--to", help="A new folder.")],
    split: options.Splits = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="About this many labels of each part.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what export wrote there before.")
    ] = False,
    requests: options.RequestFile = None,
    model: options.ModelName = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
) -> None:
    """Write labelled examples for TRL, Axolotl or ms-swift: prompt, completion, messages, ids.

    One row a label; without --split, the part train. The folder is one that
    datasets.load_dataset reads.
    """
    from promptrank.api.export import export as run

    with progress_bar("writing", "requests") as progress:
        exported = run(
            task,
            to,
            splits=set(split) if split else None,
            limit=limit,
            seed=seed,
            requests=requests,
            model=model,
            project=project,
            settings=set_,
            overwrite=overwrite,
            say=say_once(),
            progress=progress,
        )
    for reason, count in exported.errors.items():
        say(f"{count:,} rows could not be used: {reason}")
    for part, count in exported.labels.items():
        say(f"{part}: {count:,} labels -> {exported.path / part}.parquet")
