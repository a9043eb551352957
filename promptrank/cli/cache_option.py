"""``--cache``: the project's score cache, or one in a folder of its own."""

from itertools import takewhile
from typing import Annotated, Any

import typer

from promptrank.cli.one_output import OneOutput
from promptrank.errors import InputError

Cache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="[FOLDER]",
        help="Take known answers from the score cache, and keep new ones there. Default: cache/ of "
        "the project.",
    ),
]


class CachingCommand(OneOutput):
    """A command whose ``--cache`` may stand without a folder: last, or before another option."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse, once the folder that was left out is written as an empty one."""
        options = len(list(takewhile(lambda arg: arg != "--", args)))
        written, folders = list(args), []
        for n in range(options):
            if args[n] != "--cache":
                continue
            if n + 1 >= len(args) or args[n + 1].startswith("-"):
                written[n] = "--cache="
            else:
                folders.append(args[n + 1])
        parsed = super().parse_args(ctx, written)
        for folder in folders:
            _refuse_a_task(folder, ctx.params.get("project"))
        return parsed


def _refuse_a_task(folder: str, project: Any) -> None:
    """A task behind ``--cache`` was meant as a task, more likely than as a folder."""
    from promptrank.project import open_project

    is_task = folder.endswith((".yaml", ".yml"))
    if is_task or any(task.name == folder for task in open_project(project).tasks()):
        raise InputError(
            f"--cache {folder}: that is a task, and what stands behind --cache is a folder; write "
            f"the tasks before --cache, or --cache={folder} for a folder of that name"
        )


def chosen(cache: str | None) -> bool | str:
    """The option as functions take it."""
    if cache is None:
        return False
    return cache or True
