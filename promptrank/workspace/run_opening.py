"""What ranks a run: in this process, or in workers by Ray."""

from collections.abc import Callable, Mapping
from typing import Any

from promptrank.basics.telling import Say
from promptrank.caching.score_cache import ScoreCache
from promptrank.engine.vllm_engine.restarts import FREE_IN_RUNS, Restarts
from promptrank.errors import InputError
from promptrank.runs.ray_session import WantedWorkers
from promptrank.runtime.runtime import Runtime
from promptrank.scores.origin import Origin
from promptrank.workspace.tasks import OpenTask


def wanted_workers(
    on: str | None,
    workers: int | None,
    cpus: float | None,
    gpus: float | None,
    threads: int | None,
    prepare: int | None,
) -> WantedWorkers | None:
    """The workers that options ask for; None for a run in this process.

    Raises:
        InputError: options of workers without any, or one that is not for workers.
    """
    if on is not None:
        if prepare:
            raise InputError("--prepare is for one machine; workers of --on prepare for themselves")
        return WantedWorkers(on, workers, float(threads or 1) if cpus is None else cpus, gpus)
    if (workers, cpus, gpus) != (None, None, None):
        raise InputError(
            "--workers, --cpus-per-worker and --gpus-per-worker go with --on; --on ray starts Ray "
            "on this machine"
        )
    return None


def origin_of_options(opened: OpenTask, given: Mapping[str, Any]) -> Origin:
    """Who will score a run, as far as its options say; workers say the rest.

    Args:
        given: arguments of `promptrank.open_ranker`.
    """
    adapter = given.get("adapter")
    engine = {
        "name": given.get("engine", "packed"),
        "model": given.get("model") or opened.task.model,
    }
    return Origin(
        "decoder",
        task=opened.name,
        engine=engine,
        adapter=str(adapter) if adapter is not None else None,
    )


def run_runtime(
    timeout: float | None,
    say: Say,
    cache: ScoreCache | None,
    timed_out: Callable[[str], None] | None = None,
) -> Runtime:
    """For runs, which nobody watches: engines are started anew where that is possible.

    Args:
        timed_out: as of `Runtime`.
    """
    if timeout is not None and not timeout > 0:
        raise InputError(f"a time-out of {timeout:g} s; give more than 0")
    restarts = Restarts(say, FREE_IN_RUNS)
    return Runtime(restarts, timeout=timeout, cache=cache, timed_out=timed_out)
