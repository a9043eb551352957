"""``rank``: requests to a scores file, resumable."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import InputError
from promptrank.requests.sampling import request_count
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs.outputs import check_output, taken
from promptrank.runs.run_ends import RunEnds, Unfinished
from promptrank.runs.scored_file import Ranked, score_into
from promptrank.runs.throughput import Throughput
from promptrank.workspace.baselines import (
    WantedBaselines,
    baseline_engine,
    baseline_ranker,
    fit_on,
)
from promptrank.workspace.kept_scores import CacheChoice, check_cached, score_cache
from promptrank.workspace.policies import open_policy, with_policy
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import asked_splits, request_file
from promptrank.workspace.run_opening import run_runtime
from promptrank.workspace.tasks import OpenTask, open_task


def rank(
    task: str | OpenTask,
    out: str | Path,
    *,
    requests: str | Path | None = None,
    splits: set[str] | None = None,
    limit: int | None = None,
    engine: str = "packed",
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    allow_changed: bool = False,
    cache: CacheChoice = False,
    throughput: Throughput | None = None,
    with_text: bool = False,
    timeout: float | None = None,
    ends: RunEnds | None = None,
    timed_out: Callable[[str], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Ranked:
    """Score and rank requests into ``out`` (``.parquet`` or ``.jsonl``).

    A run that was stopped goes on where it was, given the same task, model, adapter, requests and
    items. While it runs, nobody else writes ``out``.
    Beside ``out``: ``<stem>.errors.jsonl`` and ``<stem>.config.json``.

    Args:
        engine: as of `open_ranker`, or ``baseline:NAME``, which learns from the part ``train`` of
            the same requests.
        requests: a request file; the task's own tables where left out.
        splits: only these parts; ``test`` where the task declares a split, else everything.
        limit: at most this many requests, sampled by a hash of their ids.
        allow_changed: rank although template or answers changed since the adapter was trained.
        cache: answer from the score cache where it can be, and add to it what cannot: True for
            the project's, or a folder.
        throughput: is kept up to date, for whoever shows it.
        with_text: error rows keep what they quote of the data, such as a value that a template
            cannot take.
        timeout, timed_out: as of `promptrank.api.rank_run.rank_run`; not for baselines.
        ends: is kept up to date with what became of the run, by the file's name without its
            ending; empty until everything is opened.
        stop: asked between shards, of some hundred requests; True ends it by `StoppedBetween`.

    Raises:
        InputError: whatever in the input keeps the run from starting.
    """
    path = check_output(out, (".parquet", ".jsonl"), [requests])
    opened = open_task(task, project=project, settings=settings)
    baseline = baseline_engine(opened, engine, model, adapter)
    if baseline is not None and timeout is not None:
        raise InputError(f"{engine}: a baseline asks no engine; leave --timeout out")
    check_cached(engine, cache)
    splits = asked_splits(opened, requests, splits)
    given: dict[str, Any] = {"engine": engine, "model": model, "adapter": adapter}
    given |= {"threads": threads, "device": device, "dtype": dtype}
    given |= {"allow_changed": allow_changed, "say": say}
    with ExitStack() as stack:
        stack.enter_context(taken(path, "rank"))
        if baseline is None:
            kept = stack.enter_context(score_cache(opened.project, cache, say))
            given["runtime"] = stack.enter_context(run_runtime(timeout, say, kept, timed_out))
            ranker = stack.enter_context(open_ranker(opened, **given))
        # A baseline learns from the training part of the same requests.
        needed = splits if baseline is None else None
        file = stack.enter_context(request_file(opened, requests, splits=needed, say=say))
        facts = {
            "items": file.items_stamp(),
            "splits": sorted(splits) if splits else None,
            "limit": limit,
        }
        chosen: dict[str, Any] = {"say": say, "progress": progress, "stop": stop}
        chosen |= {"throughput": throughput, "with_text": with_text}
        if baseline is not None:
            sample = Sample(file, splits, limit)
            wanted = WantedBaselines((baseline,), frozenset({baseline}))
            fitted = fit_on(opened, file, sample, wanted, say)
            ranker = baseline_ranker(opened, baseline, fitted, file)
            ranker = with_policy(opened, ranker, open_policy(opened))
            source: RequestFile | Sample = sample
        else:
            ids = set(file.ids(splits, limit)) if limit is not None else None
            total = len(ids) if ids is not None else request_count(file.path, splits)
            chosen |= {"splits": splits, "ids": ids, "total": total}
            source = file
        ends = ends if ends is not None else {}
        ends[path.stem] = Unfinished(path, ranker.origin, begun=True)
        ranked = score_into(path, ranker, source, facts, some=True, **chosen)
        ends[path.stem] = ranked.summary
    return ranked
