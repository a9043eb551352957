"""What a person sees: messages and progress on stderr, tables and reports on stdout."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from promptrank.cli import streams
from promptrank.cli.progress import BarSteps, Clock, LogSteps, Steps
from promptrank.cli.taken import Taken

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from promptrank.evaluation.report import Report

PLAIN_WIDTH = 120
"""Characters of a line in a file or a pipe; tables of names and paths take what they need."""

_WHOLE = 100_000  # wider than any path


def say(message: str) -> None:
    """One line on stderr; where nobody reads it, or no space is left for it, work goes on."""
    try:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
    except OSError:
        streams.give_up(sys.stderr)


def say_once() -> Callable[[str], None]:
    """A `say` for one command: what it has said once it does not say again."""
    said: set[str] = set()

    def tell(message: str) -> None:
        if message not in said:
            said.add(message)
            say(message)

    return tell


@contextmanager
def progress_bar(what: str, unit: str, clock: Clock = time.monotonic) -> Iterator[Steps]:
    """A function of (done, total) that shows how far ``what`` is, counted in ``unit``."""
    steps: Steps
    if sys.stderr.isatty():
        from rich.console import Console

        steps = BarSteps(what, unit, say, Console(stderr=True), clock, Taken())
    else:
        steps = LogSteps(what, unit, say, clock, Taken())
    try:
        yield steps
    except BaseException:
        steps.end()  # what was broken off has no summary
        raise
    steps.close()


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> "Table":
    """A table of names and paths: its head on a terminal only, so that every other line is data."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=sys.stdout.isatty())
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def print_table(table: "RenderableType", plain_width: int = _WHOLE) -> None:
    """Print to stdout; in a file or a pipe without colours, spaces at line ends, and cuts."""
    from rich.console import Console

    if sys.stdout.isatty():
        Console().print(table)
        return
    console = Console(width=plain_width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in lines))
    sys.stdout.flush()  # where stderr goes to the same file, both keep their order


def show(report: "Report", *, full: bool = False) -> None:
    """Print a report to stdout: a few lines, or everything in it."""
    from rich.console import Console

    from promptrank.evaluation.report_summary import everything, summary

    width = Console().width if sys.stdout.isatty() else PLAIN_WIDTH
    print_table((everything if full else summary)(report, width=width), PLAIN_WIDTH)
