"""``rank --run``: requests of any number to a folder of shards, resumable."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError, InputError
from promptrank.project import open_project
from promptrank.requests.sampling import request_count
from promptrank.runs.error_texts import error_words
from promptrank.runs.partitions import DATE
from promptrank.runs.ray_pools import WorkerPools, worker_pools
from promptrank.runs.ray_run import score_shards_on_workers
from promptrank.runs.room import is_full
from promptrank.runs.run_ends import RunEnds, Unfinished
from promptrank.runs.run_identity import check_folders
from promptrank.runs.run_in_store import run_in_store
from promptrank.runs.several_runs import (
    begin_several,
    check_several,
    finish_several,
    is_of_nights,
    last_finished,
    run_folders,
)
from promptrank.runs.sharded_run import SHARD, RunSummary
from promptrank.runs.sharded_run import score_shards as run
from promptrank.runs.throughput import Throughput
from promptrank.runtime.runtime import Runtime
from promptrank.scores.origin import Origin
from promptrank.workspace.baselines import baseline_engine
from promptrank.workspace.encoders import template_digest
from promptrank.workspace.kept_scores import (
    CacheChoice,
    cache_folder,
    check_cached,
    check_weights_known,
    score_cache,
    weights_known,
)
from promptrank.workspace.planned_runs import PlanEntry, check_entries, open_here, open_plan
from promptrank.workspace.planned_workers import open_on_workers, wanted_by
from promptrank.workspace.preparing import preparing
from promptrank.workspace.rankers import STUDENT, open_ranker
from promptrank.workspace.request_files import asked_splits, request_file
from promptrank.workspace.run_opening import (
    origin_of_options,
    run_runtime,
    wanted_workers,
)
from promptrank.workspace.run_workers import pool_for_run, workers_cache
from promptrank.workspace.tasks import OpenTask, open_task


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
    pools: WorkerPools | None = None,
    ends: RunEnds | None = None,
    timed_out: Callable[[str], None] | None = None,
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
            scores from there; or the folder that such runs lie in, of which the last one by name
            is taken that is finished. With a server nothing is taken over, as its weights are not
            known.
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
        pools: with ``on``, have the workers where runs share them.
        ends: is kept up to date with what became of the run, for whoever tells it; empty until
            it is opened.
        timed_out: is told why, before a time-out ends this process.
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
    if earlier is not None and is_of_nights(earlier, place):
        earlier = last_finished(earlier, place, "", say)
    if earlier is not None and earlier.resolve() == place.resolve():
        raise InputError(f"--since {earlier} is the run itself; name another folder for --run")
    check_folders(place, earlier)
    if earlier is not None and not weights_known(engine):
        say(
            f"{engine}: which weights answer at an address is not known, so nothing of {earlier} "
            "is taken over"
        )
        earlier = None
    opened = open_task(task, project=project, settings=settings)
    if baseline_engine(opened, engine, model, adapter) is not None:
        raise InputError(f"{engine}: baselines rank into one file; take -o in place of --run")
    if pools is None:
        check_cached(engine, cache)
    splits = asked_splits(opened, requests, splits)
    wanted = wanted_workers(on, workers, cpus_per_worker, gpus_per_worker, threads, prepare)
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
        ends = ends if ends is not None else {}
        if wanted is None:
            if runtime is None:
                kept = stack.enter_context(score_cache(opened.project, cache, say))
                runtime = stack.enter_context(run_runtime(timeout, say, kept, timed_out))
            ranker = open_ranker(opened, **given, runtime=runtime, say=say)
            score = partial(run, place, stack.enter_context(ranker))
        else:
            template = template_digest(opened) if not engine.startswith(STUDENT) else None
            given |= {"project": project, "settings": settings or ()}
            shared = workers_cache(opened.project, cache, say)
            if pools is None:
                pools = stack.enter_context(worker_pools([wanted], say))
            pool = pool_for_run(pools, wanted, task, given, timeout=timeout, cache=shared)
            score = partial(score_shards_on_workers, place, pool, opened.task, template=template)
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
        origin = ranker.origin if ranker is not None else origin_of_options(opened, given)
        ends[place.name] = Unfinished(place, origin, begun=True)
        ends[place.name] = summary = score(
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
        return summary


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
    ends: RunEnds | None = None,
    timed_out: Callable[[str], None] | None = None,
    started: Started = lambda entry, throughput: None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
    **given: Any,
) -> dict[str, RunSummary]:
    """Several runs, one after another, each into a folder of its own under ``folder``.

    They share one runtime: a model is in memory once, with the adapters of all; with ``on`` once in
    each worker, and workers go from one run to the next. Every model, adapter and template is
    opened before anything is ranked. A run whose request file or folder is at fault is told at the
    end, after the others; a full disk, and an engine that fails at everything, are at fault for all
    and end it. The same call goes on with what is not finished.

    Args:
        plan: a file (`promptrank.schema.run_plan`), or names of tasks.
        since: an earlier folder of several runs: each takes over scores of the run of its name; or
            the folder that such folders lie in, of which each run takes the last that has it
            finished.
        cache, with_text, timeout, timed_out: as of `rank_run`.
        ends: is kept up to date with what became of each run; empty until all are opened.
        started: is told which run begins.
        stop: asked between shards; True ends it by `StoppedBetween`.
        given: options of `rank_run`, for runs of the plan that do not say otherwise.

    Returns:
        What each run came to, by name, in the order of the plan.

    Raises:
        InputError: whatever in the input keeps any of the runs from starting; runs that did not
            finish, of which the others did.
        DataError: the same, where their request files are at fault.
    """
    place = expanded(folder)
    earlier = expanded(since) if since is not None else None
    check_several(place)
    entries = open_plan(plan, given, project=project, settings=settings or [], say=say)
    for entry in entries:
        check_weights_known(entry.given.get("engine", "packed"), cache)
    folders = {entry.name: run_folders(place, earlier, entry.name, say) for entry in entries}
    done: dict[str, RunSummary] = {}
    ends = ends if ends is not None else {}
    failed: dict[str, InputError] = {}
    with ExitStack() as stack:
        stack.enter_context(owned(place, "rank"))
        root = open_project(project).root
        shared: dict[str, Any]
        opening: Callable[[PlanEntry], Origin]
        wanted = [of for entry in entries if (of := wanted_by(entry)) is not None]
        if wanted:
            pools = stack.enter_context(worker_pools(wanted, say))
            kept_at = cache if cache is False else cache_folder(root, cache)
            shared = {"pools": pools, "cache": kept_at, "timeout": timeout}
            opening = partial(
                open_on_workers,
                pools=pools,
                project=project,
                timeout=timeout,
                cache=workers_cache(root, cache, say),
                stop=stop,
            )
        else:
            kept = stack.enter_context(score_cache(root, cache, say))
            shared = {"runtime": stack.enter_context(run_runtime(timeout, say, kept, timed_out))}
            opening = partial(open_here, runtime=shared["runtime"], say=say)
        origins = check_entries(entries, folders, opening, plan=plan)
        for name, origin in origins.items():
            ends[name] = Unfinished(folders[name][0], origin)
        begin_several(place, {entry.name: entry.opened.name for entry in entries})
        for entry in entries:
            own, before = folders[entry.name]
            options: Mapping[str, Any] = entry.given
            under_way = Unfinished(own, origins[entry.name], begun=True)
            ends[entry.name] = under_way
            throughput = Throughput()
            started(entry, throughput)
            try:
                done[entry.name] = rank_run(
                    entry.task if wanted else entry.opened,
                    own,
                    **options,
                    **shared,
                    project=project,
                    settings=[*entry.settings],
                    size=size,
                    since=before,
                    throughput=throughput,
                    with_text=with_text,
                    ends=ends,
                    stop=stop,
                    say=say,
                    progress=progress,
                )
            except InputError as error:
                if is_full(error):
                    raise
                failed[entry.name] = error
                words = error_words(error, with_text=with_text)
                ends[entry.name] = replace(under_way, error=words)
                say(f"{entry.name}: {error}")
    if failed:
        lines = "\n".join(f"{name}: {error}" for name, error in failed.items())
        whose = all(isinstance(error, DataError) for error in failed.values())
        raise (DataError if whose else InputError)(
            f"{len(failed)} of {len(entries)} runs did not finish\n{lines}"
        )
    finish_several(place, done)
    return done
