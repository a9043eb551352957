"""What became of runs, for machines: as JSON, and as a Prometheus text file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptrank.basics.addresses import shown
from promptrank.errors import InputError
from promptrank.runs.run_ends import RunEnd, Unfinished
from promptrank.runs.sharded_run import RunSummary
from promptrank.scores.origin import Origin

TOTALS = ("rows", "requests", "candidates", "scored", "removed", "set_aside", "unread", "purged")
"""Counts that are summed over runs."""

_NUMBERS = (
    ("rows", "rows", "Rows of the request file: candidates, and what became none."),
    ("requests", "requests", "Requests read."),
    ("candidates", "candidates", "Candidates of these requests."),
    ("scored", "scored", "Candidates with a score."),
    ("removed", "removed", "Candidates that a step took out."),
    ("set_aside", "set_aside", "Candidates without a row, which error rows account for."),
    ("purged", "purged", "Candidates that a purge took out since."),
    ("unread", "unread", "Rows of the request file that became no candidate."),
    ("reused", "reused", "Requests that kept the scores of an earlier run."),
    ("tokens", "tokens", "Tokens of all prompts, each by itself."),
    ("unique_tokens", "unique_tokens", "Tokens that are computed once for each request."),
    ("shared_tokens", "shared_tokens", "Tokens that a prompt asked before begins with."),
)
_STARTED = (
    ("seconds", "seconds", "Seconds of the last start of the run."),
    ("prompt_tokens", "read_tokens", "Tokens of prompts the engine read since the last start."),
    ("cached_tokens", "cached_tokens", "Those of them that its prefix cache had."),
    ("cache_hits", "cache_hits", "Prompts that the score cache answered since the last start."),
    ("cache_asked", "cache_asked", "Prompts that the model was asked, where there is a cache."),
)
"""Key of a report, end of the metric's name, help."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """What became of one run.

    Attributes:
        name: of its folder.
        end: what it came to, or why it did not finish.
        moment: unix seconds of this report.
    """

    name: str
    end: RunEnd
    moment: float

    @property
    def labels(self) -> tuple[str, str, str, str]:
        """The run, its task, the name of its adapter's folder (empty without one), its model."""
        origin, engine = self._origin, self._origin.engine or {}
        adapter = Path(origin.adapter).name if origin.adapter else ""
        return self.name, origin.task or "", adapter, str(engine.get("model") or "")

    def as_dict(self) -> dict[str, Any]:
        """Plain values; a run that did not finish has no counts."""
        name, task, adapter, model = self.labels
        about: dict[str, Any] = {
            "name": name,
            "folder": shown(self.end.folder),
            "task": task,
            "adapter": adapter or None,
            "model": model or None,
            "engine": (self._origin.engine or {}).get("name"),
        }
        if isinstance(self.end, Unfinished):
            return {**about, "finished": None, "error": self.end.error}
        moment = datetime.fromtimestamp(self.moment, UTC)
        about |= {"finished": moment.isoformat(timespec="seconds"), "error": None}
        return about | _plain(self.end)

    @property
    def _origin(self) -> Origin:
        end = self.end
        return end.origin if isinstance(end, Unfinished) else end.identity.origin


def _plain(summary: RunSummary) -> dict[str, Any]:
    counts = summary.counted.as_dict()
    rows = counts["scored"] + counts["removed"]
    mass = counts.pop("label_mass")
    shared = counts["shared_tokens"] / counts["tokens"] if counts["tokens"] else None
    return {
        "shards": summary.shards,
        "resumed": summary.resumed,
        "splits": summary.identity.about.get("splits"),
        "limit": summary.identity.about.get("limit"),
        **counts,
        "shared_share": shared,
        "label_mass": {name: total / rows for name, total in mass.items()} if rows else {},
        "start": summary.throughput.as_dict(),
    }


def run_reports(ends: Mapping[str, RunEnd], now: float) -> list[RunReport]:
    """What became of runs.

    Args:
        ends: by name, of a command that has come to its end.
        now: unix seconds.
    """
    return [RunReport(name, end, now) for name, end in ends.items()]


def summary_text(reports: Sequence[RunReport]) -> str:
    """Reports as JSON, with the sums of those that finished."""
    runs = [report.as_dict() for report in reports]
    done = [run for run in runs if run["finished"] is not None]
    whole: dict[str, Any] = {key: sum(run[key] for run in done) for key in TOTALS}
    whole |= {"failed": len(runs) - len(done), "runs": runs}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def check_metrics() -> None:
    """InputError unless Prometheus' library is installed."""
    if find_spec("prometheus_client") is None:
        raise InputError(
            "--metrics needs prometheus_client, which is not installed: "
            "pip install 'promptrank[serve]'"
        )


def metrics_text(reports: Sequence[RunReport]) -> str:
    """Reports in Prometheus' text format, as node-exporter's textfile collector reads it.

    All are gauges: a night's numbers stand in the place of the night's before, and do not go on
    from them.
    """
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    labels = ("run", "task", "adapter", "model")

    def gauge(end: str, about: str, *more: str) -> Gauge:
        return Gauge(f"promptrank_run_{end}", about, (*labels, *more), registry=registry)

    counts = {key: gauge(end, about) for key, end, about in _NUMBERS}
    started = {key: gauge(end, about) for key, end, about in _STARTED}
    errors = gauge("error_rows", "Error rows by reason.", "reason")
    faults = gauge("faults", "What went wrong and was mended, by kind.", "kind")
    mass = gauge("label_mass", "Mean probability of a question's answers together.", "question")
    finished = gauge("finished_timestamp_seconds", "When the run was finished.")
    failed = gauge("failed", "1 where the run did not finish, else 0.")
    for report in reports:
        about, plain = report.labels, report.as_dict()
        failed.labels(*about).set(plain["finished"] is None)
        if plain["finished"] is None:
            continue
        for key, number in counts.items():
            number.labels(*about).set(plain[key])
        for key, number in started.items():
            number.labels(*about).set(plain["start"][key])
        for reason, rows in plain["reasons"].items():
            errors.labels(*about, reason).set(rows)
        for kind, times in plain["faults"].items():
            faults.labels(*about, kind).set(times)
        for question, mean in plain["label_mass"].items():
            mass.labels(*about, question).set(mean)
        finished.labels(*about).set(report.moment)
    return generate_latest(registry).decode()
