"""``promptrank replay``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.cli import endings, options
from promptrank.cli.differences import change_lines, difference_lines, example_lines
from promptrank.cli.terminal import progress_bar, say_once

if TYPE_CHECKING:
    from promptrank.api.replay import Replayed


def replay(
    folder: Annotated[Path, typer.Argument(help="The log of `promptrank serve --log FOLDER`.")],
    task: Annotated[
        str | None, typer.Argument(help="A task of the log. Default: all of them.")
    ] = None,
    adapter: Annotated[
        str | None,
        typer.Option("--adapter", help="For all requests. Default: what served each of them."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option("--engine", help="For all requests. Default: what served each of them."),
    ] = None,
    model: options.ModelName = None,
    limit: options.Limit = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Scores that are closer are the same.")
    ] = 1e-4,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the result as JSON here.")
    ] = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
) -> None:
    """Rank a log's requests again; exit code 3 where scores or orders are not those served."""
    from promptrank.api.replay import replay as run

    with progress_bar("replaying", "requests") as progress:
        replayed = run(
            folder,
            task,
            adapter=adapter,
            engine=engine,
            model=model,
            project=project,
            settings=set_,
            threads=threads,
            device=device,
            dtype=dtype,
            limit=limit,
            tolerance=tolerance,
            out=out,
            say=say_once(),
            progress=progress,
        )
    sys.stdout.write("".join(f"{line}\n" for each in replayed for line in _lines(each)))
    if not all(each.differences.same for each in replayed):
        raise typer.Exit(endings.UNMET)


def _lines(replayed: "Replayed") -> list[str]:
    apart = replayed.differences
    lines = [
        f"{replayed.task}: {counted(apart.requests, 'request')}, "
        f"{counted(apart.candidates, 'candidate')} ranked again: "
        + ("as served" if apart.same else "NOT as served"),
        *difference_lines(apart),
    ]
    if replayed.unread:
        lines.append(f"  {counted(replayed.unread, 'row')} of the log could not be read")
    return [*lines, *change_lines(replayed.changes), *example_lines(apart.examples)]
