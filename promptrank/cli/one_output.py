"""Commands that write one output."""

import typer
from typer.core import TyperCommand

from promptrank.errors import InputError


class OneOutput(TyperCommand):
    """A command that refuses a second ``--out``, where the first would silently be nothing."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Parse, once it is seen that ``--out`` stands once."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        if sum(param.name == "out" for param in order) > 1:
            note = ""
            if ctx.info_name in ("eval", "parity"):
                note = "; a report at FILE.html has its FILE.json beside it anyway"
            raise InputError(f"--out stands more than once, and one file is written{note}")
        return super().parse_args(ctx, args)
