"""``rank --run``: requests of any number to a folder of shards, resumable."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError, InputError
from promptrank.project import open_project
from promptrank.requests.sampling import request_count
from promptrank.runs.partitions import DATE
from promptrank.runs.ray_pool import worker_pool
from promptrank.runs.ray_run import score_shards_on_workers
from promptrank.runs.run_identity import check_folders
from promptrank.runs.several_runs import begin_several, check_several, finish_several, run_folders
from promptrank.runs.sharded_run import SHARD, RunSummary
from promptrank.runs.sharded_run import score_shards as run
from promptrank.runs.stored_runs import run_in_store
from promptrank.runs.throughput import Throughput
from promptrank.runtime.runtime import Runtime
from promptrank.workspace.baselines import baseline_engine
from promptrank.workspace.encoders import template_digest
from promptrank.workspace.kept_scores import (
    CacheChoice,
    check_cached,
    check_weights_known,
    score_cache,
)
from promptrank.workspace.planned_runs import PlanEntry, check_entries, open_plan
from promptrank.workspace.preparing import preparing
from promptrank.workspace.rankers import STUDENT, open_ranker
from promptrank.workspace.request_files import check_given, request_file
from promptrank.workspace.run_opening import open_in_worker, run_runtime, wanted_workers
from promptrank.workspace.tasks import OpenTask, check_splits, open_task


@run_in_store
def rank_run(
    task: str | OpenTask,
    folder: str | Path,
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
    size: int = SHARD,
    since: str | Path | None = None,
    partition: str | None = None,
    cache: CacheChoice = False,
    runtime: Runtime | None = None,
    throughput: Throughput | None = None,
    with_text: bool = False,
    timeout: float | None = None,
    prepare: int | None = None,
    on: str | None = None,
    workers: int | None = None,
    cpus_per_worker: float | None = None,
    gpus_per_worker: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> RunSummary:
    """Score and rank requests into ``folder``, local or in an object store, by shards.

    The requests are never all in memory, nor are their ids, but a hash of each id is. A run that
    was stopped at any moment goes on with the same call; what is done is never written again.
    ``scores/*.parquet`` are what ``rank`` writes into one file.

    Args:
        requests, splits, limit, engine: as of `promptrank.rank`; no baseline.
        size: requests of one shard.
        since: folder of an earlier run: requests whose prompts are as they were there keep the
            scores from there.
        partition: ``date``: the scores of each day in a folder of its own, by the requests' times
            in UTC: ``scores/date=2026-11-27/000042.parquet``.
        cache: answer from the score cache where it can be, and add to it what cannot: True for
            the project's, or a folder. A runtime that is given has its own, or none.
        runtime: owns the opened models, where runs share them.
        throughput: is kept up to date, for whoever shows it.
        with_text: error rows keep what they quote of the data, such as a value that a template
            cannot take.
        timeout: seconds that a step of the engine may take. A process of its own (vllm) is ended
            then and started anew, a server (http) is asked again; an engine that computes here
            ends this process. Where left out: 600 (vllm), 120 (http), and no limit for the others.
        prepare: processes that read, render and tokenize beside the one that asks the engine; as of
            `promptrank.workspace.preparing.preparing` where left out.
        on: past one machine, by Ray: ``ray`` for one that is started here for the job, or the
            address of a running cluster (``auto``, ``ray://HOST:10001``). Workers with an engine
            each rank the shards and write them; ``folder`` lies where all of them see it.
        workers: of them; as many as the cluster has room for where left out.
        cpus_per_worker: ``threads`` where left out, or 1; threads are as many where left out.
        gpus_per_worker: 1 where left out, the cluster has GPUs and the engine takes them.
        stop: asked between shards; True ends the run by `StoppedBetween`.

    Raises:
        InputError: whatever in the input keeps the run from starting.
    """
    place = expanded(folder)
    earlier = expanded(since) if since is not None else None
    if size < 1:
        raise InputError(f"a shard of {size} requests; give 1 or more")
    if partition not in (None, DATE):
        raise InputError(f"--partition {partition}: a run can be partitioned by `{DATE}`")
    if earlier is not None and earlier.resolve() == place.resolve():
        raise InputError(f"--since {earlier} is the run itself; name another folder for --run")
    check_folders(place, earlier)
    opened = open_task(task, project=project, settings=settings)
    if baseline_engine(opened, engine, model, adapter) is not None:
        raise InputError(f"{engine}: baselines rank into one file; take -o in place of --run")
    check_cached(engine, cache)
    if requests is None:
        check_splits(opened.task, splits)
        if splits is None and opened.task.split is not None:
            splits = {"test"}
    else:
        check_given(requests)
    wanted = wanted_workers(on, workers, cpus_per_worker, gpus_per_worker, threads)
    if wanted is not None and cache is not False:
        raise InputError("--cache is for one machine; leave it out, or --on")
    if wanted is not None and threads is None:
        threads = max(1, int(wanted.cpus))
    given: dict[str, Any] = {
        "engine": engine,
        "model": model,
        "adapter": adapter,
        "threads": threads,
        "device": device,
        "dtype": dtype,
        "allow_changed": allow_changed,
    }
    with ExitStack() as stack:
        stack.enter_context(owned(place, "rank"))
        score: Callable[..., RunSummary]
        ranker = None
        if wanted is None:
            if runtime is None:
                kept = stack.enter_context(score_cache(opened.project, cache, say))
                runtime = stack.enter_context(run_runtime(timeout, say, kept))
            ranker = open_ranker(opened, **given, runtime=runtime, say=say)
            score = partial(run, place, stack.enter_context(ranker))
        elif prepare:
            raise InputError("--prepare is for one machine; workers of --on prepare for themselves")
        else:
            given |= {"project": project, "settings": settings or ()}
            opening = partial(open_in_worker, task, timeout, given)
            pool = stack.enter_context(worker_pool(wanted, opening, engine, device, say))
            template = template_digest(opened) if not engine.startswith(STUDENT) else None
            score = partial(
                score_shards_on_workers,
                place,
                pool,
                opened.task,
                template=template,
            )
        file = stack.enter_context(request_file(opened, requests, splits=splits, say=say))
        if ranker is not None:
            ready = preparing(
                opened, ranker, file, engine=engine, model=model, prepare=prepare, say=say
            )
            score = partial(score, prepare=ready)
        ids = set(file.ids(splits, limit)) if limit is not None else None
        facts = {
            "items": file.items_stamp(),
            "splits": sorted(splits) if splits else None,
            "limit": limit,
        }
        return score(
            file,
            facts,
            splits=splits,
            ids=ids,
            size=size,
            dated=partition is not None,
            earlier=earlier,
            total=len(ids) if ids is not None else request_count(file.path, splits),
            throughput=throughput,
            with_text=with_text,
            stop=stop,
            say=say,
            progress=progress,
        )


Started = Callable[[PlanEntry, Throughput], None]
"""Is told of each run of several as it begins, with what will be kept up to date."""


@run_in_store
def rank_plan(
    plan: str | Path | Sequence[str],
    folder: str | Path,
    *,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    size: int = SHARD,
    since: str | Path | None = None,
    cache: CacheChoice = False,
    with_text: bool = False,
    timeout: float | None = None,
    started: Started = lambda entry, throughput: None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
    **given: Any,
) -> dict[str, RunSummary]:
    """Several runs, one after another, each into a folder of its own under ``folder``.

    They share one runtime: a model is in memory once, with the adapters of all. Every model,
    adapter and template is opened before anything is ranked. A run whose request file is at fault
    is told at the end, after the others. The same call goes on with what is not finished.

    Args:
        plan: a file (`promptrank.schema.run_plan`), or names of tasks.
        since: the folder of one run, or of several: each takes over scores of the run of its name.
        cache, with_text, timeout: as of `rank_run`.
        started: is told which run begins.
        stop: asked between shards; True ends it by `StoppedBetween`.
        given: options of `rank_run`, for runs of the plan that do not say otherwise.

    Returns:
        What each run came to, by name, in the order of the plan.

    Raises:
        InputError: whatever in the input keeps any of the runs from starting.
        DataError: runs whose request files are at fault; the others are finished.
    """
    place = expanded(folder)
    earlier = expanded(since) if since is not None else None
    check_several(place)
    entries = open_plan(plan, given, project=project, settings=settings or [])
    for entry in entries:
        check_weights_known(entry.given.get("engine", "packed"), cache)
    folders = {entry.name: run_folders(place, earlier, entry.name, say) for entry in entries}
    done: dict[str, RunSummary] = {}
    failed: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(owned(place, "rank"))
        kept = stack.enter_context(score_cache(open_project(project).root, cache, say))
        runtime = stack.enter_context(run_runtime(timeout, say, kept))
        check_entries(entries, folders, runtime, plan=plan, say=say)
        begin_several(place, {entry.name: entry.opened.name for entry in entries})
        for entry in entries:
            own, before = folders[entry.name]
            options: Mapping[str, Any] = entry.given
            throughput = Throughput()
            started(entry, throughput)
            try:
                done[entry.name] = rank_run(
                    entry.opened,
                    own,
                    **options,
                    size=size,
                    since=before,
                    runtime=runtime,
                    throughput=throughput,
                    with_text=with_text,
                    stop=stop,
                    say=say,
                    progress=progress,
                )
            except DataError as error:
                failed.append(f"{entry.name}: {error}")
                say(f"{entry.name}: {error}")
    if failed:
        words = "\n".join(failed)
        raise DataError(f"{len(failed)} of {len(entries)} runs did not finish\n{words}")
    finish_several(place, done)
    return done
