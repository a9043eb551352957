"""The ``promptrank`` command: its verbs, exit codes and error lines.

Exit codes: 0 fine, 1 our bug (with a traceback), 2 the user's input (one message), 130 Ctrl-C,
128 and the number of another signal (143 for SIGTERM).
"""

import errno
import os
import sys
import time

import typer

from promptrank.cli import (
    adapters,
    build,
    demo,
    distill,
    evaluate,
    fuse,
    parity,
    rank,
    signals,
    simulate,
    start,
    students,
    tasks,
    train,
)
from promptrank.errors import InputError
from promptrank.training import processes

app = typer.Typer(
    name="promptrank",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="One decoder ranks everything: tasks as YAML and Jinja, scores from answer log-probs.",
)
app.command()(start.init)
app.command()(start.schema)
app.command()(tasks.ls)
app.command()(tasks.pull)
app.command()(tasks.validate)
app.command()(tasks.render)
app.command()(build.build)
app.command()(rank.rank)
app.command()(fuse.fuse)
app.command(name="eval")(evaluate.eval_)
app.command()(parity.parity)
app.command()(train.train)
app.command()(demo.demo)
app.add_typer(simulate.app)
app.add_typer(adapters.app)
app.command()(distill.distill)
app.add_typer(students.app)


def main() -> None:
    """Run the command line."""
    # Several processes that train are their launcher's, who ends those that wait for another one.
    if processes.count() == 1:
        signals.end_by_signals()
    try:
        _run()
    except BaseException:
        if (stopped := signals.stopped()) is None:
            raise
        sys.stderr.write(f"stopped by {stopped.name}\n")
        sys.exit(stopped.code)


def _run() -> None:
    try:
        app()
    except InputError as error:
        if signals.stopped() is not None:
            raise  # a library has made an error of the signal
        if processes.is_first():
            sys.stderr.write(f"error: {error}\n")
        else:
            # A launcher ends them all as soon as one ends; the first shall have spoken by then.
            time.sleep(1)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(130)
    except BrokenPipeError:
        # The reader (`head`, a pager) has gone; what is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = error.filename or "a file"
        sys.stderr.write(f"error: {where}: {error.strerror}; free some space\n")
        sys.exit(2)
