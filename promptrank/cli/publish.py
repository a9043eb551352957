"""``promptrank publish``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.cli.terminal import say


def publish(
    scores: Annotated[
        Path, typer.Argument(help="The folder of a finished `rank --run`, or a scores file.")
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
    """Put the scores of a run into a table of a database, in place of those it has of that run."""
    from promptrank.api.publish import publish as run

    done = run(scores, to, name=name)
    say(f"{counted(done.rows, 'row')} of {done.run} -> {done.table}")
