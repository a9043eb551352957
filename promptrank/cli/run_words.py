"""What is said of runs that are finished: lines for people, and files for machines."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.files import write_text
from promptrank.basics.paths import expanded
from promptrank.basics.plurals import counted
from promptrank.cli.terminal import say
from promptrank.errors import InputError

if TYPE_CHECKING:
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
    done: "Mapping[str, RunSummary]", summary: Path | None, metrics: Path | None
) -> None:
    """Write what was asked for, each beside its place and renamed; a summary may go to stdout."""
    from promptrank.runs.run_reports import metrics_text, run_reports

    if summary is None and metrics is None:
        return
    reports = run_reports(done, time.time())
    if metrics is not None:
        write_text(metrics, metrics_text(reports))
    if summary is None:
        return
    runs = [report.as_dict() for report in reports]
    totals = {key: sum(run[key] for run in runs) for key in ("requests", "candidates", "scored")}
    text = json.dumps({**totals, "runs": runs}, indent=2, ensure_ascii=False) + "\n"
    if summary == STDOUT:
        sys.stdout.write(text)
    else:
        write_text(summary, text)


def say_run(done: "RunSummary", since: Path | None) -> None:
    """What a run came to."""
    from promptrank.runs.fault_counts import told_faults
    from promptrank.scores.scores import thin_answers

    all_ = done.counted
    taken_out = f"{all_.removed:,} taken out by steps + " if all_.removed else ""
    purged = f" + {all_.purged:,} purged" if all_.purged else ""
    if done.resumed:
        were = "was" if done.resumed == 1 else "were"
        say(f"{done.resumed:,} of {counted(done.shards, 'shard')} {were} done already")
    say(
        f"{counted(all_.candidates, 'candidate')} of {counted(all_.requests, 'request')} = "
        f"{all_.scored:,} scored + {taken_out}{all_.set_aside:,} set aside{purged} "
        f"-> {done.folder}"
    )
    if all_.reused:
        say(f"{counted(all_.reused, 'request')} kept the scores of {since}")
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
            f"{counted(all_.errors, 'error row')} ({reasons}), {counted(all_.unread, 'row')} of "
            f"the file not read, {counted(all_.partial, 'ranking')} partial -> "
            f"{done.folder / 'errors'}"
        )


def one_task(tasks: list[str]) -> str:
    """The task, where a command takes one.

    Raises:
        InputError: none, or several.
    """
    if len(tasks) != 1:
        raise InputError(f"name one task, not {len(tasks)}; --run DIR takes several, or a --plan")
    return tasks[0]
