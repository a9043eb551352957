"""What workers of a run open, from the files on their machines, and the cache that they share."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from promptrank.basics.telling import Say, silent
from promptrank.caching.score_cache import open_cache
from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.runs.ray_pool import WorkerPool
from promptrank.runs.ray_pools import WorkerPools
from promptrank.runs.ray_session import WantedWorkers
from promptrank.runs.ray_worker import Opening
from promptrank.runtime.runtime import Runtime
from promptrank.workspace.kept_scores import TEACHER, CacheChoice, cache_folder, score_cache
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.run_opening import run_runtime
from promptrank.workspace.tasks import OpenTask


def pool_for_run(
    pools: WorkerPools,
    wanted: WantedWorkers,
    task: str | OpenTask,
    given: Mapping[str, Any],
    *,
    timeout: float | None,
    cache: "WorkersCache | None",
) -> WorkerPool:
    """Workers that are opening the ranker of a run.

    Args:
        given: arguments of `promptrank.open_ranker`; without ``threads`` a worker has as many as
            CPUs.

    Raises:
        InputError: the cluster has no room.
    """
    given = {**given, "threads": given.get("threads") or max(1, int(wanted.cpus))}
    opening = Opening(partial(worker_runtime, timeout, cache), partial(open_in_worker, task, given))
    engine, device = given.get("engine", "packed"), given.get("device", "auto")
    return pools.opened(wanted, opening, engine=engine, device=device)


@dataclass(frozen=True, slots=True)
class WorkersCache:
    """A score cache that all workers open, and the machine whose disk it lies on."""

    folder: Path
    teacher: Path
    machine: str = field(default_factory=platform.node)


def workers_cache(project: Path, cache: CacheChoice, say: Say) -> WorkersCache | None:
    """The chosen cache as workers open it; None where none is wanted, or where it is unusable."""
    with score_cache(project, cache, say) as kept:
        if kept is None:
            return None
    return WorkersCache(cache_folder(project, cache).resolve(), (project / TEACHER).resolve())


@contextmanager
def worker_runtime(timeout: float | None, cache: WorkersCache | None) -> Iterator[Runtime]:
    """What a worker opens models by.

    Raises:
        InputError: a cache on the disk of another machine.
    """
    with ExitStack() as stack:
        kept = None
        if cache is not None:
            if platform.node() != cache.machine:
                raise InputError(
                    f"the score cache in {cache.folder} is a file of {cache.machine}, and a worker "
                    f"runs on {platform.node()}: SQLite's log wants all of its processes on one "
                    "machine; leave --cache out"
                )
            kept = open_cache(cache.folder, silent, teacher=cache.teacher)
            if kept is not None:
                stack.callback(kept.close)
        yield stack.enter_context(run_runtime(timeout, silent, kept))


def open_in_worker(task: str | OpenTask, given: Mapping[str, Any], runtime: Runtime) -> Ranker:
    """The ranker of a run in a process of its own, by the files on its machine."""
    return open_ranker(task, **given, runtime=runtime)
