"""``rank --run``: requests of any number to a folder of shards, resumable."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.engine.vllm_engine.restarts import FREE_IN_RUNS, Restarts
from promptrank.errors import DataError, InputError
from promptrank.requests.sampling import request_count
from promptrank.runs.partitions import DATE
from promptrank.runs.run_identity import PLAN, RUN, check_folders
from promptrank.runs.several_runs import begin_several, check_several, finish_several
from promptrank.runs.sharded_run import SHARD, RunSummary
from promptrank.runs.sharded_run import score_shards as run
from promptrank.runs.stored_runs import run_in_store
from promptrank.runs.throughput import Throughput
from promptrank.runtime.runtime import Runtime
from promptrank.workspace.baselines import baseline_engine
from promptrank.workspace.planned_runs import PlanEntry, check_entries, open_plan
from promptrank.workspace.preparing import preparing
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import request_file
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
    runtime: Runtime | None = None,
    throughput: Throughput | None = None,
    with_text: bool = False,
    timeout: float | None = None,
    prepare: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> RunSummary:
    """Score and rank requests into ``folder``, local or in an object store, by shards.

    Neither the requests nor their ids are ever all in memory. A run that was stopped at any moment
    goes on with the same call; what is done is never written again. ``scores/*.parquet`` are what
    ``rank`` writes into one file.

    Args:
        requests, splits, limit, engine: as of `promptrank.rank`; no baseline.
        size: requests of one shard.
        since: folder of an earlier run: requests whose prompts are as they were there keep the
            scores from there.
        partition: ``date``: the scores of each day in a folder of its own, by the requests' times
            in UTC: ``scores/date=2026-11-27/000042.parquet``.
        runtime: owns the opened models, where runs share them.
        throughput: is kept up to date, for whoever shows it.
        with_text: error rows keep what they quote of the data, such as a value that a template
            cannot take.
        timeout: seconds that a step of the engine may take. A process of its own (vllm) is ended
            then and started anew, a server (http) is asked again; an engine that computes here
            ends this process. Where left out: 600 (vllm), 120 (http), and no limit for the others.
        prepare: processes that read, render and tokenize beside the one that asks the engine; as of
            `promptrank.workspace.preparing.preparing` where left out.
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
    with ExitStack() as stack:
        stack.enter_context(owned(place, "rank"))
        if runtime is None:
            runtime = stack.enter_context(_runtime(timeout, say))
        ranker = stack.enter_context(
            open_ranker(
                opened,
                engine=engine,
                model=model,
                adapter=adapter,
                threads=threads,
                device=device,
                dtype=dtype,
                allow_changed=allow_changed,
                runtime=runtime,
                say=say,
            )
        )
        if requests is None:
            check_splits(opened.task, splits)
            if splits is None and opened.task.split is not None:
                splits = {"test"}
        file = stack.enter_context(request_file(opened, requests, splits=splits, say=say))
        ids = set(file.ids(splits, limit)) if limit is not None else None
        facts = {
            "items": file.items_stamp(),
            "splits": sorted(splits) if splits else None,
            "limit": limit,
        }
        return run(
            place,
            ranker,
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
            prepare=preparing(
                opened, ranker, file, engine=engine, model=model, prepare=prepare, say=say
            ),
            stop=stop,
            say=say,
            progress=progress,
        )


def _runtime(timeout: float | None, say: Say) -> Runtime:
    """For runs, which nobody watches: engines are started anew where that is possible."""
    if timeout is not None and not timeout > 0:
        raise InputError(f"a time-out of {timeout:g} s; give more than 0")
    return Runtime(Restarts(say, FREE_IN_RUNS), timeout=timeout)


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
        with_text, timeout: as of `rank_run`.
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
    folders = {entry.name: _folders(place, earlier, entry.name, say) for entry in entries}
    done: dict[str, RunSummary] = {}
    failed: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(owned(place, "rank"))
        runtime = stack.enter_context(_runtime(timeout, say))
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


def _folders(place: Path, earlier: Path | None, name: str, say: Say) -> tuple[Path, Path | None]:
    """Of a run among several, and of the run that it takes scores over from."""
    if earlier is None:
        return place / name, None
    if earlier.resolve() == place.resolve():
        raise InputError(f"--since {earlier} is the run itself; name another folder for --run")
    if (earlier / RUN).is_file():
        raise InputError(f"--since {earlier}: is one run; name a folder of several")
    if not (earlier / PLAN).is_file():
        raise InputError(f"--since {earlier}: is no folder of runs; `rank --run` makes one")
    if not (earlier / name / RUN).is_file():
        say(f"{earlier} has no run {name}, so {name} is ranked as a whole")
        return place / name, None
    return place / name, earlier / name
