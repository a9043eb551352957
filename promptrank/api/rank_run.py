"""``rank --run``: requests of any number to a folder of shards, resumable."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import InputError
from promptrank.requests.sampling import request_count
from promptrank.runs.run_identity import check_folders
from promptrank.runs.sharded_run import SHARD, RunSummary
from promptrank.runs.sharded_run import score_shards as run
from promptrank.runtime.runtime import Runtime
from promptrank.workspace.baselines import baseline_engine
from promptrank.workspace.kept_scores import CacheChoice, check_cached, score_cache
from promptrank.workspace.rankers import open_ranker
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
    cache: CacheChoice = False,
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
        cache: answer from the score cache where it can be, and add to it what cannot: True for
            the project's, or a folder.
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
    check_cached(engine, cache)
    with ExitStack() as stack:
        stack.enter_context(owned(place, "rank"))
        kept = stack.enter_context(score_cache(opened.project, cache, say))
        runtime = stack.enter_context(Runtime(cache=kept))
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
            earlier=earlier,
            total=len(ids) if ids is not None else request_count(file.path, splits),
            stop=stop,
            say=say,
            progress=progress,
        )
