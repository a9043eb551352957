"""``parity``: the same requests through every engine, against one prompt at a time."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from promptrank.basics.scratch import scratch
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.engine.compute import Compute
from promptrank.errors import DataError, InputError
from promptrank.ranking.ranker import Ranker
from promptrank.requests.source import Sample
from promptrank.runs.manifest import manifest
from promptrank.runs.outputs import check_output, taken
from promptrank.runs.scoring import score
from promptrank.runtime.decoders import settle
from promptrank.workspace.merging import merge_adapter
from promptrank.workspace.policies import without_steps
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask, check_splits, open_task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report
    from promptrank.scores.scores import Scores

REFERENCE = "plain"
TOLERANCES: Mapping[str, float] = MappingProxyType({"packed": 1e-4, "vllm": 2e-3, "merged": 1e-3})
"""Of log-odds in float32, in nats: a packing of our own, other kernels, other weights."""
COARSE = 0.5
"""In nats, of log-odds in fewer bits, where every order of sums rounds in its own way."""


def parity(
    task: str | OpenTask,
    *,
    adapter: str | Path | None = None,
    engines: Sequence[str] | None = None,
    requests: str | Path | None = None,
    split: str | None = None,
    limit: int = 8,
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    tolerances: Mapping[str, float] | None = None,
    out: str | Path | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> "Report":
    """Score some requests one prompt at a time and through each engine, and compare.

    The report has an agreement for every engine that ran, and the reason for each that did not.

    Args:
        adapter: an adapter for all of them; ``merged`` then scores base + adapter as one model.
        engines: of ``packed``, ``vllm`` and ``merged``; all that can run where left out.
        limit: so many requests, sampled by a hash of their ids.
        device: of all but vllm.
        dtype: of all of them.
        tolerances: engine -> how far log-odds may be from the reference's, in nats; `TOLERANCES`
            for float32 and `COARSE` for other dtypes where left out.
        out: where to write the report as JSON.

    Raises:
        InputError: an engine that is not known, or cannot run although it was asked for.
    """
    from promptrank.evaluation.compare import compare
    from promptrank.evaluation.report import write_report

    if out is not None:
        check_output(out, (".json",), [requests])
    compute = Compute(threads, device, dtype)
    settled = settle(REFERENCE, compute)
    chosen, left_out = _choose(engines, adapter, settled)
    if tolerances is None:
        coarse = dict.fromkeys(TOLERANCES, COARSE)
        tolerances = TOLERANCES if settled.dtype == "float32" else coarse
    opened = without_steps(open_task(task, project=project, settings=settings))
    splits = {split} if split is not None else None
    check_splits(opened.task, splits)
    if splits is None and requests is None and opened.task.split is not None:
        splits = {"test"}
    with taken(out, "parity"), request_file(opened, requests, splits=splits, say=say) as file:
        sample = Sample(file, splits, limit)
        sample.hold()
        if not list(sample):
            raise DataError(f"{opened.name}: there is no request to score")
        total = len(sample) * (len(chosen) + 1)
        scores: dict[str, Scores] = {}
        notes: list[str] = []
        for number, name in enumerate((REFERENCE, *chosen)):
            say(f"scoring with {name}")
            shown = partial(_show, progress, number * len(sample), total)
            with _ranker(opened, name, adapter, model, settled, say) as ranker:
                scores[name] = score(ranker, sample, shown)
                notes += [f"{name}: {note}" for note in ranker.info.notes]
        report = compare(
            opened.task,
            sample,
            scores,
            metrics=(),
            reference=REFERENCE,
            tolerances={name: tolerances[name] for name in chosen},
        )
        about = manifest("parity", opened.task, opened.name, adapter=adapter and str(adapter))
        report = replace(report, absent=left_out, notes=tuple(notes), provenance=about)
        if out is not None:
            write_report(report, Path(out))
    return report


def _show(progress: Progress, before: int, whole: int, done: int, total: int | None) -> None:
    progress(before + done, whole)


def passed(report: "Report") -> bool:
    """Whether every engine that ran agrees with the reference."""
    agreed = [row.agreement for row in report.rankers if row.agreement is not None]
    return all(agreement.passed for agreement in agreed)


def _choose(
    engines: Sequence[str] | None, adapter: str | Path | None, compute: Compute
) -> tuple[list[str], dict[str, str]]:
    """The engines to run, and why others do not."""
    if unknown := sorted(set(engines or ()) - set(TOLERANCES)):
        raise InputError(f"no engine {unknown[0]!r} to compare; engines: {', '.join(TOLERANCES)}")
    reasons = {}
    if find_spec("vllm") is None:
        reasons["vllm"] = "vLLM is not installed"
    if adapter is None:
        reasons["merged"] = "there is no adapter to merge; name one with --adapter"
    elif compute.dtype == "int8":
        reasons["merged"] = "int8 rounds merged weights otherwise than their base"
    if compute.dtype == "int8":
        reasons["vllm"] = "vLLM does not round as --dtype int8 does"
    for name in engines or ():
        if name in reasons:
            raise InputError(f"engine {name} cannot run: {reasons[name]}")
    chosen = [name for name in TOLERANCES if name in (engines or TOLERANCES)]
    return [n for n in chosen if n not in reasons], {
        n: r for n, r in reasons.items() if not engines
    }


@contextmanager
def _ranker(
    opened: OpenTask,
    name: str,
    adapter: str | Path | None,
    model: str | None,
    compute: Compute,
    say: Say,
) -> Iterator[Ranker]:
    if name == "vllm":
        compute = replace(compute, device="auto")
    options: dict[str, Any] = {**asdict(compute), "say": say, "allow_changed": True}
    if name != "merged":
        with open_ranker(opened, engine=name, model=model, adapter=adapter, **options) as ranker:
            yield ranker
        return
    with scratch() as folder:
        merged = folder / "merged"
        base = model or opened.task.model
        merge_adapter(str(adapter), merged, model=base, project=opened.project, say=say)
        with open_ranker(opened, engine="packed", model=str(merged), **options) as ranker:
            yield ranker
