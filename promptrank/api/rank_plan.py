"""Several runs of a plan, or of several tasks, one after another."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from promptrank.api.rank_run import rank_run
from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError, InputError
from promptrank.project import open_project
from promptrank.runs.error_texts import error_words
from promptrank.runs.ray_pools import worker_pools
from promptrank.runs.room import is_full
from promptrank.runs.run_ends import RunEnds, Unfinished
from promptrank.runs.several_runs import (
    begin_several,
    check_several,
    finish_several,
    run_folders,
)
from promptrank.runs.sharded_run import SHARD, RunSummary
from promptrank.runs.stored_runs import run_in_store
from promptrank.runs.throughput import Throughput
from promptrank.scores.origin import Origin
from promptrank.workspace.kept_scores import (
    CacheChoice,
    cache_folder,
    check_weights_known,
    score_cache,
)
from promptrank.workspace.planned_runs import PlanEntry, check_entries, open_here, open_plan
from promptrank.workspace.planned_workers import open_on_workers, wanted_by
from promptrank.workspace.run_opening import (
    run_runtime,
)
from promptrank.workspace.run_workers import workers_cache

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
    entries = open_plan(plan, given, project=project, settings=settings or [])
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
        origins = check_entries(entries, folders, opening, plan=plan, say=say)
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
