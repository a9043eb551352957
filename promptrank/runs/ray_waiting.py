"""How long a job on Ray waits for a worker, and what it says meanwhile."""

import time
from typing import Any

from promptrank.basics.telling import Say
from promptrank.errors import InputError
from promptrank.runs.ray_session import WantedWorkers

_PATIENCE = 30.0  # seconds without a worker after which it is said what is waited for
WITHOUT_WORKERS = 15 * 60.0
"""Seconds in which the cluster gives room to no worker at all, after which a job ends."""


class WaitForWorkers:
    """A wait for the first worker, at the start and where all have been lost."""

    def __init__(self, ray: Any, wanted: WantedWorkers, say: Say) -> None:
        """Nothing is waited for yet."""
        self._ray, self._wanted, self._say = ray, wanted, say
        self.over()

    def over(self) -> None:
        """A worker is ready: the next wait is one of its own."""
        self._since: float | None = None
        self._room_since: float | None = None
        self._told: set[str] = set()

    def goes_on(self, placed: bool) -> None:
        """No worker is ready; say once what is waited for.

        Args:
            placed: whether one has room and is opening what it ranks by, which may take long.

        Raises:
            InputError: none has had room for `WITHOUT_WORKERS`.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        self._room_since = now if placed or self._room_since is None else self._room_since
        if now - self._room_since >= WITHOUT_WORKERS:
            raise InputError(
                f"the cluster has had room for no worker for {WITHOUT_WORKERS / 60:.3g} minutes: "
                f"{self._takes()}; `ray status` shows what is taken, --cpus-per-worker and "
                "--gpus-per-worker say what a worker takes, and the same command goes on where it "
                "was"
            )
        if now - self._since >= _PATIENCE:
            if placed:
                self._tell("opens", "ranking begins once a worker has opened its model")
            else:
                self._tell(
                    "room",
                    f"workers are starting: {self._takes()}; the job waits up to "
                    f"{WITHOUT_WORKERS / 60:.3g} minutes for one to have room",
                )

    def _tell(self, about: str, words: str) -> None:
        if about not in self._told:
            self._told.add(about)
            self._say(words)

    def _takes(self) -> str:
        has = self._ray.cluster_resources()
        return (
            f"each takes {self._wanted.cpus:g} CPUs and {self._wanted.gpus or 0:g} GPUs of the "
            f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g} that the cluster has"
        )
