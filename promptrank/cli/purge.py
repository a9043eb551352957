"""``promptrank purge``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.basics.stopping import if_stopped
from promptrank.cli import options
from promptrank.cli.endings import UNMET

if TYPE_CHECKING:
    from promptrank.api.purge import Purged


def purge(
    subject: Annotated[str, typer.Option("--subject", help="Id of the person.")],
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run", help="A run's folder, a folder of many, or a scores file. Repeatable."
        ),
    ] = None,
    log: Annotated[
        list[Path] | None,
        typer.Option("--log", help="A folder of `serve --log`. Repeatable."),
    ] = None,
    cache: Annotated[
        list[Path] | None,
        typer.Option(
            "--cache", help="A score cache's folder, beside the project's own. Repeatable."
        ),
    ] = None,
    requests: Annotated[
        list[Path] | None,
        typer.Option("--requests", help="A request file. Repeatable."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", help="A table that scores were published to, as its --to. Repeatable."
        ),
    ] = None,
    items: Annotated[
        bool | None,
        typer.Option(
            "--items/--no-items",
            help="Where items have that id: they are the same person, and go too; or they are not.",
        ),
    ] = None,
    project: options.ProjectFolder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count and look, and write nothing.")
    ] = False,
) -> None:
    """Remove a person from caches, runs, logs, tables, labels and request files, and prove it.

    The exit code is 3 where the id still stands anywhere.
    """
    from promptrank.api.purge import purge as run_purge

    with if_stopped("the same command goes on where it was"):
        purged = run_purge(
            subject,
            project=project,
            runs=run or (),
            logs=log or (),
            caches=cache or (),
            requests=requests or (),
            tables=table or (),
            items=items,
            dry=dry_run,
        )
    sys.stdout.write("".join(f"{line}\n" for line in _lines(purged, subject, items, dry_run)))
    sys.stdout.write("".join(f"not looked into: {words}\n" for words in purged.beyond))
    if purged.left and not dry_run:
        raise typer.Exit(UNMET)


def _lines(purged: "Purged", subject: str, items: bool | None, dry: bool) -> list[str]:
    lines = []
    for each in purged.removed:
        if told := each.told():
            lines.append(f"{each.path}: {told}{' would go' if dry else ' removed'}")
        lines += each.notes if not dry else ()
    lines += _nothing(purged, subject)
    for place in purged.left:
        what = " as an item's id" if place.item else ""
        lines.append(f"{place.path}: {'stands' if dry else 'left'}{what} in {place.where}")
    if purged.as_items and items is None:
        lines.append(
            "items have that id: --items where they are the same person, --no-items where not"
        )
    if purged.as_items and items is False:
        lines.append(
            f"{counted(len(purged.as_items), 'place')} with an item of that id, which stays"
        )
    count = f"{len(purged.left):,} {'places hold it' if dry else 'left'}"
    tables = f" and {counted(purged.tables, 'table')}" if purged.tables else ""
    lines.append(f"{count} of {counted(purged.looked, 'file')}{tables} looked at")
    return lines


def _nothing(purged: "Purged", subject: str) -> list[str]:
    """Where nothing is to be removed, nor stands: three places by name."""
    holding = [str(place.path) for place in (*purged.left, *purged.as_items)]
    places = [
        str(each.path)
        for each in purged.removed
        if not each.told() and not any(at.startswith(str(each.path)) for at in holding)
    ]
    more = f" and {len(places) - 3:,} more" if len(places) > 3 else ""
    return [f"nothing of {subject} in {', '.join(places[:3])}{more}"] if places else []
