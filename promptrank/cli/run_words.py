"""What is said of runs that are finished: lines for people, and files for machines."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.addresses import is_object, shown
from promptrank.basics.files import write_text
from promptrank.basics.paths import expanded
from promptrank.basics.plurals import counted
from promptrank.cli import signals
from promptrank.cli.terminal import say
from promptrank.errors import InputError

if TYPE_CHECKING:
    from promptrank.runs.run_ends import RunEnd, RunEnds
    from promptrank.runs.sharded_run import RunSummary

STDOUT = Path("-")


def check_report_files(summary: Path | None, metrics: Path | None) -> None:
    """Told before anything is ranked.

    Raises:
        InputError: another ending than programs look for, no such folder, or no library for
            metrics.
    """
    from promptrank.runs.outputs import check_output
    from promptrank.runs.run_reports import check_metrics

    if summary is not None and summary != STDOUT:
        _check_folder("--summary", summary)  # before the check that makes it
        check_output(summary, (".json",))
    if metrics is not None:
        check_metrics()
        _check_folder("--metrics", metrics)  # before the check that makes it
        check_output(metrics, (".prom",))


def _check_folder(option: str, file: Path) -> None:
    """Nobody would look into a folder that is made from a mistyped name."""
    folder = expanded(file).parent
    if not folder.is_dir():
        raise InputError(f"{option} {file}: no folder {folder}; make it, or correct the path")


def write_report_files(
    ends: "Mapping[str, RunEnd]", summary: Path | None, metrics: Path | None
) -> None:
    """Write what was asked for, each beside its place and renamed; a summary may go to stdout."""
    from promptrank.runs.run_reports import metrics_text, run_reports, summary_text

    if summary is None and metrics is None:
        return
    reports = run_reports(ends, time.time())
    if metrics is not None:
        write_text(metrics, metrics_text(reports))
    if summary == STDOUT:
        sys.stdout.write(summary_text(reports))
    elif summary is not None:
        write_text(summary, summary_text(reports))


class ReportFiles:
    """``--summary`` and ``--metrics``, of runs that finish and of those that do not.

    Attributes:
        ends: what became of each run so far; nothing is written while it is empty.
    """

    def __init__(self, summary: Path | None, metrics: Path | None, *, with_text: bool) -> None:
        """Take where they go.

        Raises:
            InputError: as `check_report_files`.
        """
        check_report_files(summary, metrics)
        self.ends: RunEnds = {}
        self._places, self._with_text = (summary, metrics), with_text

    @contextmanager
    def written(self, stopped: Callable[[], bool]) -> Iterator[None]:
        """They are written when what is inside ends, by an error too.

        Whoever stops it, by Ctrl-C or a signal, goes on later: files of before stay as they are.

        Args:
            stopped: whether somebody has pressed Ctrl-C, which libraries turn into their errors.
        """
        from promptrank.runs.error_texts import error_words

        try:
            yield
        except Exception as error:
            if not stopped() and signals.stopped() is None:
                self.failed(error_words(error, with_text=self._with_text))
            raise
        write_report_files(self.ends, *self._places)

    def failed(self, words: str) -> None:
        """Write them of a command that has failed, as far as they can be written."""
        from promptrank.runs.run_ends import ended_by

        if not self.ends:
            return
        try:
            write_report_files(ended_by(self.ends, words), *self._places)
        except OSError as error:  # the disk is full: what has failed says more
            say(f"--summary and --metrics are not written: {error}")


def say_run(done: "RunSummary", since: Path | None = None, *, errors: Path | None = None) -> None:
    """What a run came to.

    Args:
        since: what was given as the run to take scores over from, or the folder of such runs.
        errors: where its error rows are; in its folder where left out.
    """
    from promptrank.runs.fault_counts import told_faults
    from promptrank.scores.scores import thin_answers

    all_ = done.counted
    removed = f"{all_.removed:,} removed by steps + " if all_.removed else ""
    purged = f" + {all_.purged:,} purged" if all_.purged else ""
    if done.resumed:
        were = "was" if done.resumed == 1 else "were"
        say(f"{done.resumed:,} of {counted(done.shards, 'shard')} {were} done already")
    if all_.unread:
        say(
            f"{counted(all_.rows, 'row')} of the file = "
            f"{counted(all_.candidates, 'candidate')} + {all_.unread:,} unread"
        )
    say(
        f"{counted(all_.candidates, 'candidate')} of {counted(all_.requests, 'request')} = "
        f"{all_.scored:,} scored + {removed}{all_.set_aside:,} set aside{purged} "
        f"-> {shown(done.folder)}"
    )
    if all_.reused:
        # Of a run in a store what was read is a copy, whose place says nothing.
        earlier = since if since is not None and is_object(since) else done.since or since
        say(f"{counted(all_.reused, 'request')} kept the scores of {shown(earlier or '')}")
    if (use := done.throughput.cache) is not None and use.hits + use.asked:
        say(f"{counted(use.hits, 'prompt')} answered from the cache, {use.asked:,} by the model")
    for words in told_faults(all_.faults):
        say(words)
    if all_.cut_events:
        say(f"{all_.cut_events:,} history events did not fit their prompts")
    if (share := done.throughput.cached_share) is not None and all_.tokens:
        say(
            f"prompts begin with {all_.shared_tokens / all_.tokens:.1%} of what was asked before; "
            f"the engine's cache had {share:.1%}"
        )
    rows = all_.scored + all_.removed
    mass = {name: total / rows for name, total in all_.label_mass.items() if rows}
    for name, mean in mass.items():
        say(f"{name}: the declared answers hold {mean:.1%} of the model's probability")
    for warning in thin_answers(mass):
        say(f"warning: {warning}")
    if all_.errors:
        reasons = ", ".join(f"{count:,} {name}" for name, count in all_.reasons.items())
        say(
            f"{counted(all_.errors, 'error row')} ({reasons}), "
            f"{counted(all_.partial, 'ranking')} partial -> "
            f"{errors or shown(done.folder / 'errors')}"
        )


def one_task(tasks: list[str]) -> str:
    """The task, where a command takes one.

    Raises:
        InputError: none, or several.
    """
    if len(tasks) != 1:
        raise InputError(f"name one task, not {len(tasks)}; --run DIR takes several, or a --plan")
    return tasks[0]
