"""``init`` and ``schema``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from promptrank.cli.terminal import say


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
) -> None:
    """Start a project: one working task with its template and sample data."""
    from promptrank.api.start import init as run

    for file in run(folder):
        sys.stdout.write(f"{folder / file.relative_to(folder.resolve())}\n")
    say(f"next: cd {folder} && promptrank validate books/like")


def schema(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A file. Default: standard output.")
    ] = None,
) -> None:
    """The JSON Schema of task files, for editors that check YAML.

    An editor with yaml-language-server finds it by a task file's first line:
    # yaml-language-server: $schema=../../task.schema.json
    """
    from promptrank.api.start import schema_text
    from promptrank.basics.files import write_text
    from promptrank.runs.outputs import check_output, taken

    if out is None:
        sys.stdout.write(schema_text())
        return
    path = check_output(out, (".json",))
    with taken(path, "schema"):
        write_text(path, schema_text())
