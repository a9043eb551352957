"""``promptrank report``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.cli.terminal import say, show


def report(
    file: Annotated[Path, typer.Argument(help="A report as JSON, by any command.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it here as .html, to read.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print every interval and difference.")
    ] = False,
) -> None:
    """Show a report that was written as JSON, or make the page of it."""
    from promptrank.api.report import report as run

    made = run(file, out=out)
    if out is None:
        show(made, full=full)
    else:
        say(f"-> {out}")
