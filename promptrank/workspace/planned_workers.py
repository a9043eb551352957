"""The runs of a plan on workers, which open what each of them is ranked by before any begins."""

from collections.abc import Callable
from pathlib import Path

from promptrank.runs.ray_pools import WorkerPools
from promptrank.runs.ray_run import check_files
from promptrank.runs.ray_session import WantedWorkers
from promptrank.runs.sharded_run import StoppedBetween
from promptrank.scores.origin import Origin
from promptrank.workspace.encoders import template_digest
from promptrank.workspace.planned_runs import PlanEntry, ranker_options
from promptrank.workspace.rankers import STUDENT
from promptrank.workspace.run_opening import origin_of_options, wanted_workers
from promptrank.workspace.run_workers import WorkersCache, pool_for_run

_WORKERS = ("on", "workers", "cpus_per_worker", "gpus_per_worker", "threads", "prepare")


def wanted_by(entry: PlanEntry) -> WantedWorkers | None:
    """The workers that a run asks for; None for one in this process.

    Raises:
        InputError: as `promptrank.workspace.run_opening.wanted_workers`.
    """
    return wanted_workers(*(entry.given.get(name) for name in _WORKERS))


def open_on_workers(
    entry: PlanEntry,
    *,
    pools: WorkerPools,
    project: str | Path | None,
    timeout: float | None,
    cache: WorkersCache | None,
    stop: Callable[[], bool],
) -> Origin:
    """Let workers open what a run is ranked by, and wait for the first of them.

    Returns:
        Who scores it, as far as the run's options say.

    Raises:
        InputError: whatever keeps it from opening, or other files than are here.
        StoppedBetween: ``stop`` said so.
    """
    wanted = wanted_by(entry)
    assert wanted is not None
    given = {**ranker_options(entry), "project": project, "settings": entry.settings}
    pool = pool_for_run(pools, wanted, entry.task, given, timeout=timeout, cache=cache)
    first = pool.first_facts(stop)
    if first is None:
        raise StoppedBetween
    student = str(given.get("engine", "")).startswith(STUDENT)
    check_files(first, entry.opened.task, None if student else template_digest(entry.opened))
    return origin_of_options(entry.opened, given)
