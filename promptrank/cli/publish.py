"""``promptrank publish``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.cli.terminal import say


def publish(
    scores: Annotated[
        Path,
        typer.Argument(help="The folder of a finished `rank --run`, or a parquet file of scores."),
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", help="postgresql://user@host/db#schema.table, or sqlite:file.db#table."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", help="What its rows have as their run. Default: the folder's name."),
    ] = None,
) -> None:
    """Put the scores of a run, or of a plan's runs, into a table of a database.

    Rows that it has of the same run and task are replaced.
    """
    from promptrank.api.publish import publish as run

    done = run(scores, to, name=name)
    for each in done.runs:
        replaced = f", in place of {each.replaced:,}" if each.replaced else ""
        say(f"{counted(each.rows, 'row')} of {each.run} -> {done.table}{replaced}")
