"""Workers for runs that follow one another: those that are there rank the next one too."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from promptrank.basics.telling import Say
from promptrank.runs.ray_pool import WorkerPool
from promptrank.runs.ray_session import WantedWorkers, ray_session, workers_that_fit
from promptrank.runs.ray_worker import Opening

_ON_GPUS = ("packed", "plain", "vllm")


class WorkerPools:
    """One pool at a time: the next run has the same one, unless it takes other workers."""

    def __init__(self, ray: Any, say: Say) -> None:
        """Nothing is started yet.

        Args:
            ray: the module, connected.
        """
        self._ray, self._say = ray, say
        self._pool: WorkerPool | None = None
        self._fitting: WantedWorkers | None = None

    def opened(
        self, wanted: WantedWorkers, opening: Opening, *, engine: str, device: str
    ) -> WorkerPool:
        """Workers that are opening what a run is ranked by; another run's are over by then.

        Args:
            engine, device: as of `promptrank.open_ranker`; they tell whether GPUs are of use.

        Raises:
            InputError: the cluster has no room.
        """
        on_gpu = engine in _ON_GPUS and device.partition(":")[0] in ("auto", "cuda")
        fitting = workers_that_fit(self._ray, wanted, on_gpu)
        if self._pool is None or fitting != self._fitting:
            self.close()
            self._pool, self._fitting = WorkerPool(self._ray, fitting, self._say), fitting
        self._pool.open(opening)
        return self._pool

    def close(self) -> None:
        """End the workers."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


@contextmanager
def worker_pools(wanted: Sequence[WantedWorkers], say: Say) -> Iterator[WorkerPools]:
    """For the runs of one command; workers end with the context, and a Ray that it started.

    Args:
        wanted: of each run, all at one place; a Ray that is started has room for the most.

    Raises:
        InputError: no Ray, or no cluster at the address.
    """
    most = max(wanted, key=lambda of: (of.workers or 0) * of.cpus)
    with ray_session(most) as ray:
        pools = WorkerPools(ray, say)
        try:
            yield pools
        finally:
            pools.close()
