"""``promptrank join``."""

from pathlib import Path
from typing import Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.cli import options
from promptrank.cli.terminal import say, say_once


def join(
    folder: Annotated[Path, typer.Argument(help="The log of `promptrank serve --log FOLDER`.")],
    task: options.TaskName,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A request file: .jsonl, or .parquet where it fits.")
    ],
    outcomes: Annotated[
        Path | None,
        typer.Option(
            "--outcomes", help="A file with request_id, candidate_id, label and, perhaps, time."
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option("--within", help="How long after the answer an outcome counts, such as 7d."),
    ] = None,
    none: Annotated[
        str | None,
        typer.Option("--none", help="Label of what was shown and nothing came of."),
    ] = None,
    valid: Annotated[
        float | None, typer.Option("--valid", help="Share of the requests for validation.")
    ] = None,
    test: Annotated[
        float | None, typer.Option("--test", help="Share of the requests, the latest, for testing.")
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option("--shadow", help="Only requests that this shadow scored, to compare with it."),
    ] = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
) -> None:
    """Join a server's log and what came of it: one request file, to evaluate and to train on."""
    from promptrank.api.join import join as run

    joined = run(
        folder,
        task,
        out,
        outcomes=outcomes,
        within=within,
        none=none,
        valid=valid,
        test=test,
        shadow=shadow,
        project=project,
        settings=set_,
        say=say_once(),
    )
    if outcomes is not None:
        is_are = "is" if 1 in (joined.matched, joined.outcomes) else "are"
        say(f"{joined.matched:,} of {counted(joined.outcomes, 'outcome')} {is_are} of the log")
    if joined.early:
        say(f"{counted(joined.early, 'outcome')} from before the answer, left out")
    for label, count in sorted(joined.unknown.items()):
        say(f"{counted(count, 'outcome')} with the label {label!r}, which no answer has")
    if joined.only is not None:
        say(
            f"every label is {joined.only!r}, which tells nothing apart: --none LABEL labels what "
            "was shown and nothing came of"
        )
    if joined.unread:
        say(f"{counted(joined.unread, 'row')} of the log could not be read")
    for part, requests in joined.parts.items():
        if part != "none" or len(joined.parts) > 1:
            say(f"{part}: {counted(requests, 'request')}")
    labelled = f"{joined.labelled:,} with a label"
    of = counted(joined.requests, "request")
    say(f"{counted(joined.candidates, 'candidate')} of {of}, {labelled} -> {joined.path}")
    for path in joined.scores.values():
        say(f"-> {path}")
