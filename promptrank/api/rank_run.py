"""``rank --run``: requests of any number to a folder of shards, resumable."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import InputError
from promptrank.requests.sampling import request_count
from promptrank.runs.manifest import task_digest
from promptrank.runs.ray_pool import worker_pool
from promptrank.runs.ray_run import score_shards_on_workers
from promptrank.runs.ray_session import WantedWorkers
from promptrank.runs.run_identity import check_folders
from promptrank.runs.sharded_run import SHARD, RunSummary
from promptrank.runs.sharded_run import score_shards as run
from promptrank.workspace.baselines import baseline_engine
from promptrank.workspace.encoders import template_digest
from promptrank.workspace.rankers import STUDENT, open_ranker
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask, check_splits, open_task


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
    on: str | None = None,
    workers: int | None = None,
    cpus_per_worker: float | None = None,
    gpus_per_worker: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> RunSummary:
    """Score and rank requests into ``folder``, so many of them at a time.

    Neither the requests nor their ids are ever all in memory. A run that was stopped at any moment
    goes on with the same call; what is done is never written again. ``scores/*.parquet`` are what
    ``rank`` writes into one file.

    Args:
        requests, splits, limit, engine: as of `promptrank.rank`; no baseline.
        size: requests of one shard.
        since: folder of an earlier run: requests whose prompts are as they were there keep the
            scores from there.
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
    if earlier is not None and earlier.resolve() == place.resolve():
        raise InputError(f"--since {earlier} is the run itself; name another folder for --run")
    check_folders(place, earlier)
    opened = open_task(task, project=project, settings=settings)
    if baseline_engine(opened, engine, model, adapter) is not None:
        raise InputError(f"{engine}: baselines rank into one file; take -o in place of --run")
    wanted = _wanted_workers(on, workers, cpus_per_worker, gpus_per_worker, threads)
    if wanted is not None and threads is None:
        threads = max(1, int(wanted.cpus))
    opening = partial(
        open_ranker,
        opened if isinstance(task, OpenTask) else task,
        engine=engine,
        model=model,
        adapter=adapter,
        project=project,
        settings=settings or (),
        threads=threads,
        device=device,
        dtype=dtype,
        allow_changed=allow_changed,
    )
    with ExitStack() as stack:
        stack.enter_context(owned(place, "rank"))
        score: Callable[..., RunSummary]
        if wanted is None:
            score = partial(run, place, stack.enter_context(opening(say=say)))
        else:
            pool = stack.enter_context(worker_pool(wanted, opening, engine, device, say))
            template = template_digest(opened) if not engine.startswith(STUDENT) else None
            score = partial(
                score_shards_on_workers,
                place,
                pool,
                task_digest=task_digest(opened.task),
                template=template,
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
        return score(
            file,
            facts,
            splits=splits,
            ids=ids,
            size=size,
            earlier=earlier,
            total=len(ids) if ids is not None else request_count(file.path, splits),
            stop=stop,
            say=say,
            progress=progress,
        )


def _wanted_workers(
    on: str | None,
    workers: int | None,
    cpus: float | None,
    gpus: float | None,
    threads: int | None,
) -> WantedWorkers | None:
    if on is not None:
        return WantedWorkers(on, workers, float(threads or 1) if cpus is None else cpus, gpus)
    if (workers, cpus, gpus) != (None, None, None):
        raise InputError(
            "--workers, --cpus-per-worker and --gpus-per-worker go with --on; --on ray starts Ray "
            "on this machine"
        )
    return None
