"""What runs came to, for machines: as JSON, and as a Prometheus text file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from promptrank.basics.seals import read_sealed
from promptrank.errors import InputError
from promptrank.runs.run_identity import RUN
from promptrank.runs.sharded_run import RunSummary

_NUMBERS = (
    ("requests", "requests", "Requests read."),
    ("candidates", "candidates", "Candidates of these requests."),
    ("scored", "scored", "Candidates with a score."),
    ("removed", "removed", "Candidates that a step took out."),
    ("set_aside", "set_aside", "Candidates without a row, which error rows account for."),
    ("unread", "unread", "Rows of the request file that could not be read."),
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
    """What one run came to.

    Attributes:
        name: of its folder.
        adapter: its folder's name; empty for the base model.
        finished: unix seconds.
    """

    name: str
    task: str
    adapter: str
    model: str
    engine: str
    finished: float
    summary: RunSummary

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        counts = asdict(self.summary.counted)
        counts["errors"], counts["error_rows"] = counts.pop("reasons"), counts["errors"]
        rows = counts["scored"] + counts["removed"]
        mass = counts.pop("label_mass")
        start = self.summary.throughput.as_dict()
        moment = datetime.fromtimestamp(self.finished, UTC)
        return {
            "name": self.name,
            "folder": str(self.summary.folder),
            "task": self.task,
            "adapter": self.adapter or None,
            "model": self.model,
            "engine": self.engine,
            "finished": moment.isoformat(timespec="seconds"),
            "shards": self.summary.shards,
            "resumed": self.summary.resumed,
            **counts,
            "shared_share": counts["shared_tokens"] / counts["tokens"]
            if counts["tokens"]
            else None,
            "label_mass": {name: total / rows for name, total in mass.items()} if rows else {},
            "start": start,
        }


def run_reports(done: Mapping[str, RunSummary], now: float) -> list[RunReport]:
    """What runs that are finished say.

    Args:
        done: by name.
        now: unix seconds.
    """
    reports = []
    for name, summary in done.items():
        about = read_sealed(summary.folder / RUN, then="rank into another folder")
        engine = about.get("engine") or {}
        reports.append(
            RunReport(
                name,
                str(about.get("task")),
                Path(str(about["adapter"])).name if about.get("adapter") else "",
                str(engine.get("model")),
                str(engine.get("name")),
                now,
                summary,
            )
        )
    return reports


def check_metrics() -> None:
    """InputError unless Prometheus' library is installed."""
    if find_spec("prometheus_client") is None:
        raise InputError(
            "--metrics needs prometheus_client, which is not installed: "
            "pip install 'promptrank[serve]'"
        )


def metrics_text(reports: list[RunReport]) -> str:
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
    for report in reports:
        about = (report.name, report.task, report.adapter, report.model)
        plain = report.as_dict()
        for key, number in counts.items():
            number.labels(*about).set(plain[key])
        for key, number in started.items():
            number.labels(*about).set(plain["start"][key])
        for reason, rows in plain["errors"].items():
            errors.labels(*about, reason).set(rows)
        for kind, times in plain["faults"].items():
            faults.labels(*about, kind).set(times)
        for question, mean in plain["label_mass"].items():
            mass.labels(*about, question).set(mean)
        finished.labels(*about).set(report.finished)
    return generate_latest(registry).decode()
