"""What a job on Ray waits for, says and gives up; with a Ray that is not there."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from promptrank.errors import InputError
from promptrank.runs import ray_pool, ray_waiting
from promptrank.runs.ray_pool import WorkerPool
from promptrank.runs.ray_session import WantedWorkers
from promptrank.runs.ray_worker import Opening, WorkerRun
from support.ray_fake import Ended, FakeRay, numbered


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_waiting, "_PATIENCE", 0.01)
    monkeypatch.setattr(ray_waiting, "WITHOUT_WORKERS", 0.1)


def pool_of(
    answers: Callable[[int, str], Any], workers: int = 1
) -> tuple[WorkerPool, list[str], FakeRay]:
    """A pool of workers that are started, what it says, and its Ray."""
    said: list[str] = []
    ray = FakeRay(answers)
    pool = WorkerPool(ray, WantedWorkers("ray", workers), said.append)
    pool.open(cast(Opening, None))
    pool.begin(cast(WorkerRun, None), lambda facts: None)
    return pool, said, ray


def never() -> bool:
    return False


def test_a_cluster_without_room_ends_the_start() -> None:
    pool, said, _ = pool_of(lambda number, method: None)
    words = r"had room for no worker for .* minutes: each takes 1 CPUs and 0 GPUs of the 4 and 0"
    with pytest.raises(InputError, match=words):
        pool.first_facts(never)
    assert len(said) == 1 and said[0].startswith("workers are starting: each takes 1 CPUs")


@pytest.mark.long
def test_a_worker_that_opens_for_long_is_waited_for() -> None:
    looks = 0

    def answers(number: int, method: str) -> Any:
        nonlocal looks
        looks += method == "open"
        return 0 if method == "ranked" else "facts" if looks > 300 else None

    pool, said, _ = pool_of(answers)
    facts: Any = pool.first_facts(never)
    assert facts == "facts"  # later than without room
    assert said == ["ranking begins once a worker has opened its model"]


def test_a_lost_worker_without_room_for_another_ends_the_ranking() -> None:
    def answers(number: int, method: str) -> Any:
        if number > 0:
            return None
        return Ended() if method == "rank" else method

    pool, said, ray = pool_of(answers)
    with pytest.raises(InputError, match=r"room for no worker .* the same command goes on"):
        list(pool.ranked(numbered(3), never, lambda count: None))
    assert ray.started == 2
    assert said[0] == "a worker ended while it ranked shard 000000; tried again"
    assert said[1].startswith("workers are starting: ")


def test_restarts_that_fail_let_the_others_finish_what_they_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_pool, "_STARTS", 0)  # the first restart is one too many
    looks = 0

    def answers(number: int, method: str) -> Any:
        nonlocal looks
        if method != "rank":
            return 0 if method == "ranked" else method
        looks += number == 0
        if number == 1:
            return Ended()
        return "shard" if looks > 5 else None

    pool, _, _ = pool_of(answers, workers=2)
    done: list[Any] = []
    with pytest.raises(InputError, match="workers end while they start"):
        for shard in pool.ranked(numbered(9), never, lambda count: None):
            done.append(shard)
    assert done == ["shard"]
