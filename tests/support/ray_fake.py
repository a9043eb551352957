"""A Ray without processes: who has room, who ends and who answers is what a test says."""

import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any


class Ended(Exception):
    """A worker that has ended."""


class FakeRay:
    """What `promptrank.runs.ray_pool` asks of the module ``ray``.

    Answers are numbers. ``answers`` says what a call of a method of the worker with a number
    (from 0 in the order of their start) gives: a value, an exception, or None for not yet.
    """

    exceptions = SimpleNamespace(RayError=Ended, RayTaskError=type("TaskError", (Exception,), {}))

    def __init__(self, answers: Callable[[int, str], Any]) -> None:
        self._answers = answers
        self._calls: dict[int, tuple[int, str]] = {}
        self.started = 0

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}

    def remote(self, **options: Any) -> Any:
        return lambda worker: SimpleNamespace(remote=self._start)

    def wait(
        self, refs: Sequence[int], num_returns: int, timeout: float
    ) -> tuple[list[int], list[int]]:
        assert refs, "Ray refuses to wait for nothing"
        ready = [ref for ref in refs if self._answers(*self._calls[ref]) is not None]
        if not ready:
            time.sleep(min(timeout, 0.001))
        return ready[:num_returns], ready[num_returns:]

    def get(self, ref: int) -> Any:
        answer = self._answers(*self._calls[ref])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, worker: Any) -> None:
        """Nothing runs."""

    def _start(self, folder: str) -> Any:
        number, self.started = self.started, self.started + 1

        def method(name: str) -> Any:
            def call(*given: Any) -> int:
                self._calls[len(self._calls)] = (number, name)
                return len(self._calls) - 1

            return SimpleNamespace(remote=call)

        return SimpleNamespace(
            **{name: method(name) for name in ("open", "begin", "rank", "ranked", "close")}
        )


def numbered(count: int) -> Iterator[Any]:
    """Blocks that are only numbers."""
    return (SimpleNamespace(number=number) for number in range(count))
