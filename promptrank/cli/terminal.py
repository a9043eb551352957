"""What a person sees: messages and progress on stderr, reports on stdout."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report


def say(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


@contextmanager
def progress_bar(what: str, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function of (done, total) that draws a bar with rate and time left.

    Where stderr is no terminal it writes a plain line at most every ten seconds instead.
    """
    if not sys.stderr.isatty():
        yield _plain(what, unit)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    started: list[tuple[float, int]] = []
    with Progress(*columns, console=Console(stderr=True), transient=False) as bars:
        task = bars.add_task(what, total=None, rate="")

        def show(done: int, total: int | None) -> None:
            now = time.monotonic()
            started[:] = started or [(now, done)]
            spent, new = now - started[0][0], done - started[0][1]
            rate = f"{new / spent:.1f} {unit}/s" if new and spent > 0 else ""
            bars.update(task, completed=done, total=total, rate=rate)

        yield show


def _plain(what: str, unit: str) -> Callable[[int, int | None], None]:
    start: list[tuple[float, int]] = []
    last = [0.0]

    def show(done: int, total: int | None) -> None:
        now = time.monotonic()
        start[:] = start or [(now, done)]
        if now - last[0] < 10 and done != total:
            return
        last[0] = now
        spent, new = now - start[0][0], done - start[0][1]
        rate = new / spent if new and spent > 0 else 0.0
        left = f", about {(total - done) / rate:.0f} s left" if total and rate else ""
        of = f" of {total:,}" if total is not None else ""
        say(f"{what}: {done:,}{of} {unit}, {rate:.1f} {unit}/s{left}")

    return show


def show(report: "Report") -> None:
    """Print a report's table to stdout."""
    from rich.console import Console

    from promptrank.evaluation.report_text import table

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
    console.print(table(report, width=console.width))
