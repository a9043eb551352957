"""One thread that does all steps: for several engines, in turn, and nobody else does any."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from promptrank.engine.contract import EngineInfo, SlotScore, Steps, TreeScore, Window
from promptrank.errors import ModelError
from promptrank.runtime.opened import Opened
from promptrank.runtime.runtime import Runtime
from promptrank.runtime.stepping import Stepping
from support.engines import llama, saved
from test_runtime import numbers, tree


class Stepped:
    """Answers numbers in as many steps as they say.

    Attributes:
        log: the work of every step, of all that share it.
        threads: that did a step.
    """

    window, groups = Window(4, 1000), 1

    def __init__(self, log: list[int]) -> None:
        self.info = EngineInfo("stepped", "stepped", "0", "float64", 1)
        self.log, self.threads = log, set[int]()

    def size(self, work: int) -> int:
        return work

    def begin(self, works: Sequence[int]) -> Steps:
        for place, work in enumerate(works):
            for left in range(work - 1, -1, -1):
                self.threads.add(threading.get_ident())
                self.log.append(work)
                yield [] if left else [(place, answer_of(work))]

    def close(self) -> None: ...


def answer_of(work: int) -> TreeScore:
    return ((SlotScore((-float(work),), 1.0, None),),)


@contextmanager
def stepping(*opened: Opened[int]) -> Iterator[None]:
    thread = Stepping()
    try:
        with thread._due:  # so that it begins once it has all of them
            for each in opened:
                thread.take(each)
                thread.take(each)
        yield
    finally:
        for each in opened:
            each.close()
        thread.close()
        thread.close()


def test_groups_take_steps_in_turn_and_so_do_engines() -> None:
    log: list[int] = []
    first, second = Opened(Stepped(log)), Opened(Stepped(log))
    long, short = (first.submit([n])[0] for n in (5, 2))
    (other,) = second.submit([3])
    # They wait already, so that the order of steps hangs on nothing but the thread.
    with stepping(first, second):
        assert first.result(short) == answer_of(2)
        assert second.result(other) == answer_of(3)
        assert first.result(long) == answer_of(5)
    of_first = [n for n in log if n != 3]
    assert of_first[:4] == [5, 2, 5, 2] and of_first[4:] == [5, 5, 5]
    assert log.index(3) < len(log) - 3, "the second engine waits for the first one's end"


def test_however_many_ask_one_thread_does_all_steps() -> None:
    log: list[int] = []
    engines = Stepped(log), Stepped(log)
    opened = [Opened(engine) for engine in engines]

    def ask(number: int) -> bool:
        here = opened[number % 2]
        (alone,) = here.submit([1 + number % 3])
        run = list(here.stream(range(1, 6)))
        return run == [answer_of(n) for n in range(1, 6)] and here.result(alone) == answer_of(
            1 + number % 3
        )

    with stepping(*opened), ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(24)))
    (thread,) = engines[0].threads | engines[1].threads
    assert thread != threading.get_ident()


def test_who_wants_the_engine_alone_goes_before_further_steps() -> None:
    log: list[int] = []
    opened = Opened(Stepped(log))
    with stepping(opened):
        (long,) = opened.submit([10_000_000])
        for _ in range(5):
            before = opened.alone(lambda: len(log))
            assert opened.alone(lambda: len(log)) < 10_000_000
        long.cancel()
        assert before < 10_000_000


def test_what_is_given_up_is_not_computed_and_the_thread_goes_on() -> None:
    log: list[int] = []
    opened = Opened(Stepped(log))
    (late,) = opened.submit([9])
    dropped, kept = (opened.submit([n])[0] for n in (7, 2))
    with pytest.raises(TimeoutError):
        opened.result(late, timeout=0)
    dropped.cancel()
    with stepping(opened):
        assert opened.result(kept) == answer_of(2)
        with pytest.raises(CancelledError):
            opened.result(dropped)
        with pytest.raises(TimeoutError, match=r"no answer within 0\.01 seconds"):
            opened.result(opened.submit([1_000_000])[0], timeout=0.01)
        assert opened.result(opened.submit([1])[0]) == answer_of(1)
    assert set(log) == {2, 1_000_000, 1}


def test_closing_fails_what_is_under_way() -> None:
    opened = Opened(Stepped([]))
    with stepping(opened):
        (waiting,) = opened.submit([1_000_000])
    with pytest.raises(ModelError, match="closed while it was asked"):
        opened.result(waiting)


@pytest.mark.long
def test_a_runtime_for_servers_has_decoders_stepped_and_the_same_scores(tmp_path: Path) -> None:
    model = saved(llama(), tmp_path / "model")
    trees = [replace(tree(n), tree_id=f"r{n}") for n in range(12)]
    with Runtime() as runtime:
        alone = runtime.decoder(model, name="m", engine="packed")
        wanted = [alone.result(alone.submit([each])[0]) for each in trees]
    with Runtime(stepping=True) as runtime:
        shared = runtime.decoder(model, name="m", engine="packed")
        assert runtime.decoder(model, name="m", engine="packed") is shared
        with ThreadPoolExecutor(4) as pool:
            ask = lambda each: shared.result(shared.submit([each])[0], timeout=60)  # noqa: E731
            scores = list(pool.map(ask, trees))
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("steps") == 1
    for score, want in zip(scores, wanted, strict=True):
        assert numbers(score) == pytest.approx(numbers(want), abs=1e-4)
    assert "steps" not in [thread.name for thread in threading.enumerate()]
