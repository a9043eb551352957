"""``--cache``: the project's score cache, or one in a folder of its own."""

from itertools import takewhile
from typing import Annotated

import typer

from promptrank.cli.one_output import OneOutput

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
        written = list(args)
        for n in range(options):
            last = n + 1 >= len(args)
            if args[n] == "--cache" and (last or args[n + 1].startswith("-")):
                written[n] = "--cache="
        return super().parse_args(ctx, written)


def chosen(cache: str | None) -> bool | str:
    """The option as functions take it."""
    if cache is None:
        return False
    return cache or True
