"""The runtime: callers that share an engine, from threads, in long runs and one by one."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from itertools import count, islice
from pathlib import Path

import pytest

from promptrank.engine.contract import (
    Branch,
    Engine,
    EngineInfo,
    Failure,
    Slot,
    SlotScore,
    Steps,
    Tree,
    TreeScore,
    Window,
)
from promptrank.engine.fake import FakeEngine
from promptrank.engine.packed import open_packed
from promptrank.errors import ModelError
from promptrank.runtime.opened import Opened
from promptrank.runtime.runtime import Runtime
from support.engines import adapter, llama, saved

SMALL = Window(4, 1000)


class Counter:
    """Answers numbers: each takes as many steps as it says, one after another in its group.

    Attributes:
        begun: the groups, as they were begun.
        log: the work of every step; 0 where a group was closed.
    """

    def __init__(self, window: Window = SMALL, groups: int = 1) -> None:
        self.info = EngineInfo("counter", "counter", "0", "float64", 1)
        self.window, self.groups = window, groups
        self.begun: list[list[int]] = []
        self.log: list[int] = []
        self.closed = 0

    def size(self, work: int) -> int:
        return work

    def begin(self, works: Sequence[int]) -> Steps:
        self.begun.append(list(works))
        return self._steps(works)

    def _steps(self, works: Sequence[int]) -> Steps:
        try:
            for place, work in enumerate(works):
                for left in range(work - 1, -1, -1):
                    if work == 13:
                        raise ModelError("the process has died")
                    self.log.append(work)
                    yield [] if left else [(place, answer_of(work))]
        except GeneratorExit:
            self.log.append(0)
            raise

    def close(self) -> None:
        self.closed += 1


def answer_of(work: int) -> TreeScore:
    return ((SlotScore((-float(work),), 1.0, None),),)


def ids(number: int, length: int) -> tuple[int, ...]:
    return tuple((7 * number + 3 * n) % 90 for n in range(length))


def tree(number: int) -> Tree:
    slots = (Slot((7,), ((5,), (6, 8), (6, 9))),)
    branches = tuple(Branch(ids(number + n, 3 + n), slots) for n in range(1 + number % 3))
    return Tree(f"r{number}", ids(1, 20) + ids(number, 5 + number % 7), branches, shared=20)


def numbers(score: TreeScore) -> list[float]:
    assert not isinstance(score, Failure), score
    logprobs: list[float] = []
    for branch in score:
        assert not isinstance(branch, Failure), branch
        logprobs += [number for slot in branch for number in slot.logprobs]
    return logprobs


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(llama(), tmp_path_factory.mktemp("runtime") / "model")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(adapter(llama(), tmp_path_factory.mktemp("runtime") / "tuned", 1))


# ---- single works


def test_an_answer_comes_by_waiting_for_it() -> None:
    counter = Counter()
    opened = Opened(counter)
    first, second = opened.submit([2, 3])
    assert counter.begun == [] and not first.done()
    assert opened.result(second) == answer_of(3)
    assert opened.result(first) == answer_of(2)
    assert counter.log == [2, 2, 3, 3, 3, 0]


def test_a_lone_request_overtakes_a_long_run() -> None:
    counter = Counter(Window(64, 100_000))
    opened = Opened(counter)
    run = opened.stream(count(50))
    assert next(run) == answer_of(50)
    before = len(counter.log)
    (lone,) = opened.submit([3])
    assert opened.result(lone) == answer_of(3)
    assert len(counter.log) - before <= 2 * 3 + 1
    assert next(run) == answer_of(51)


def test_steps_go_round_over_all_groups() -> None:
    counter = Counter()
    opened = Opened(counter)
    answers = [opened.submit([n])[0] for n in (4, 2, 3)]
    assert opened.result(answers[0]) == answer_of(4)
    assert counter.log == [4, 2, 3, 4, 2, 0, 3, 4, 3, 0, 4, 0]
    assert all(answer.done() for answer in answers)


def test_works_that_wait_are_begun_together_up_to_one_step_and_windows_never_are() -> None:
    counter = Counter(Window(4, 1000, step=10))
    opened = Opened(counter)
    answers = [opened.submit([n])[0] for n in (5, 3, 2, 1)]
    assert [opened.result(answer) for answer in answers] == [answer_of(n) for n in (5, 3, 2, 1)]
    assert counter.begun == [[5, 3, 2], [1]]
    (late,) = opened.submit([4])
    list(opened.stream([1, 1]))
    assert opened.result(late) == answer_of(4)
    assert counter.begun[2:] == [[4], [1, 1]]


def test_who_gives_up_what_was_begun_with_others_gives_up_nothing_of_theirs() -> None:
    opened = Opened(Counter(Window(4, 1000, step=10)))
    given_up, others = opened.submit([3]), opened.submit([2])
    opened._turn_of_step()  # in which both are begun together
    assert len(given_up) == 1
    for answer in given_up:
        answer.cancel()
    assert [opened.result(answer) for answer in others] == [answer_of(2)]


# ---- long runs


@pytest.mark.parametrize("groups", [1, 2])
def test_a_long_run_is_in_order_lazy_and_in_the_engines_windows(groups: int) -> None:
    counter = Counter(groups=groups)
    drawn = 0

    def works() -> Iterator[int]:
        nonlocal drawn
        for work in count(1):
            drawn += 1
            yield work

    run = Opened(counter).stream(works())
    assert [next(run) for _ in range(9)] == [answer_of(n) for n in range(1, 10)]
    assert drawn == 8 + 4 * groups
    assert counter.begun[:2] == [[1, 2, 3, 4], [5, 6, 7, 8]]
    run.close()  # type: ignore[attr-defined]
    assert counter.log[-1] == 0


def test_a_second_window_is_begun_before_more_is_drawn() -> None:
    counter = Counter(groups=2)
    begun_at: list[int] = []

    def works() -> Iterator[int]:
        for _ in range(8):
            begun_at.append(len(counter.begun))
            yield 2

    assert len(list(Opened(counter).stream(works()))) == 8
    assert begun_at == [0] * 4 + [1] * 4


def test_closing_a_long_run_gives_up_its_own_work_only() -> None:
    counter = Counter()
    opened = Opened(counter)
    run = opened.stream([1, 5, 5, 5])
    next(run)
    (other,) = opened.submit([2])
    run.close()  # type: ignore[attr-defined]
    before = len(counter.log)
    assert opened.result(other) == answer_of(2)
    assert counter.log[before:] == [2, 2, 0]


# ---- what goes wrong


def test_an_error_fails_its_group_and_no_other() -> None:
    opened = Opened(Counter())
    (good,) = opened.submit([3])
    answers = opened.submit([1, 13, 2])
    assert opened.result(answers[0]) == answer_of(1)
    for answer in answers[1:]:
        with pytest.raises(ModelError, match="has died"):
            opened.result(answer)
    assert opened.result(good) == answer_of(3)
    with pytest.raises(ModelError, match="has died"):
        list(opened.stream([1, 13]))


def test_what_cannot_be_begun_or_ends_early_is_a_fault_of_its_group() -> None:
    class Wrong(Counter):
        def begin(self, works: Sequence[int]) -> Steps:
            if works == [1]:
                raise ModelError("closed")
            return super().begin([] if works == [2] else works)

    opened = Opened(Wrong())
    (refused,), (short,), (good,) = (opened.submit([n]) for n in (1, 2, 3))
    assert opened.result(good) == answer_of(3)
    with pytest.raises(ModelError, match="closed"):
        opened.result(refused)
    failure = opened.result(short)
    assert isinstance(failure, Failure) and failure.reason == "engine_error"
    assert "ended before all was answered" in failure.message


def test_out_of_time_is_an_error_and_the_work_is_given_up() -> None:
    counter = Counter()
    opened = Opened(counter)
    first, second = opened.submit([1, 5])
    assert opened.result(first) == answer_of(1)
    with pytest.raises(TimeoutError, match="no answer within 0 seconds"):
        opened.result(second, timeout=0)
    assert counter.log == [1, 0]
    with pytest.raises(CancelledError):
        opened.result(second)
    assert opened.result(first, timeout=0) == answer_of(1)


def test_out_of_time_leaves_what_others_wait_for() -> None:
    opened = Opened(Counter())
    first, second = opened.submit([2, 3])
    with pytest.raises(TimeoutError):
        opened.result(first, timeout=0)
    assert opened.result(second) == answer_of(3)


def test_after_closing_everything_is_refused_in_a_sentence() -> None:
    counter = Counter()
    opened = Opened(counter)
    run = opened.stream([1, 2])
    next(run)
    (waiting,) = opened.submit([2])
    opened.close()
    opened.close()
    for call in (
        lambda: opened.result(waiting),
        lambda: opened.submit([1]),
        lambda: next(run),
        lambda: next(opened.stream([1])),
        lambda: opened.alone(lambda: None),
    ):
        with pytest.raises(ModelError, match="closed while it was asked; open it again"):
            call()
    assert counter.log == [1, 0]
    assert counter.closed


def test_an_interrupt_reaches_the_thread_at_work_and_the_others_go_on() -> None:
    class Interrupted(Counter):
        def _steps(self, works: Sequence[int]) -> Steps:
            if works == [7]:
                raise KeyboardInterrupt
            yield from super()._steps(works)

    opened = Opened(Interrupted())
    (bad,), (good,) = opened.submit([7]), opened.submit([2])
    with pytest.raises(KeyboardInterrupt):
        opened.result(good)
    assert opened.result(good) == answer_of(2)
    with pytest.raises(CancelledError):
        opened.result(bad)


# ---- threads


@pytest.mark.long
@pytest.mark.parametrize("kind", ["fake", "packed"])
def test_threads_that_submit_at_once_get_the_scores_they_get_alone(
    kind: str, model: Path, tuned: str
) -> None:
    engine: Engine = FakeEngine() if kind == "fake" else open_packed(model, token_budget=150)
    trees = [replace(tree(n), adapter=tuned if n % 5 == 4 else None) for n in range(40)]
    alone = [next(iter(engine.score([tree]))) for tree in trees]
    opened = Opened(engine)
    start = threading.Barrier(5)

    def one_by_one(numbers: range) -> list[TreeScore]:
        start.wait()
        return [opened.result(opened.submit([trees[n]])[0], timeout=60) for n in numbers]

    def in_a_run(numbers: range) -> list[TreeScore]:
        start.wait()
        return list(opened.stream(trees[n] for n in numbers))

    with ThreadPoolExecutor(5) as pool:
        parts = [range(n * 8, n * 8 + 8) for n in range(5)]
        calls = [*[one_by_one] * 3, *[in_a_run] * 2]
        scores = [
            score
            for call in [pool.submit(f, part) for f, part in zip(calls, parts, strict=True)]
            for score in call.result()
        ]
    for score, want in zip(scores, alone, strict=True):
        assert numbers(score) == pytest.approx(numbers(want), abs=0 if kind == "fake" else 1e-4)


@pytest.mark.long
def test_a_long_run_scores_bit_for_bit_as_the_engine_does(model: Path) -> None:
    engine = open_packed(model, token_budget=150)
    trees = [tree(n) for n in range(150)]
    engine.forget()
    direct = list(engine.score(trees))
    engine.forget()
    opened = Opened(engine)
    run = opened.stream(trees)
    assert [*islice(run, 3), *run] == direct


def test_whoever_is_answered_leaves_while_another_works_on() -> None:
    """The answered thread returns although the one at work never waits for it."""
    answered = threading.Event()

    class Long(Counter):
        def _steps(self, works: Sequence[int]) -> Steps:
            for place, work in enumerate(works):
                if work == 100:
                    assert answered.wait(60)
                yield [(place, answer_of(work))]

    opened = Opened(Long(Window(200, 1 << 20)))
    run = opened.stream(range(1, 102))
    next(run)
    (lone,) = opened.submit([500])

    def wait() -> None:
        opened.result(lone)
        answered.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert len(list(run)) == 100
    thread.join()


# ---- the runtime


@pytest.mark.long
def test_two_tasks_on_one_model_share_it(model: Path, tuned: str, tmp_path: Path) -> None:
    heard: list[str] = []
    with Runtime() as runtime:
        first = runtime.decoder(model, name="m", engine="packed", longest=64, say=heard.append)
        again = model.parent / "." / "model"
        second = runtime.decoder(again, name="m", engine="packed", adapter=tuned, say=heard.append)
        assert first is second
        assert runtime.decoder(model, name="m", engine="plain").info.name == "plain"
        assert heard == ["loading m"]
        (base,), (on,) = first.submit([tree(2)]), second.submit([replace(tree(2), adapter=tuned)])
        assert numbers(first.result(base)) != pytest.approx(numbers(second.result(on)), abs=1e-3)
        with pytest.raises(ModelError, match="no such adapter folder"):
            runtime.decoder(model, name="m", engine="packed", adapter=str(tmp_path / "no"))
    with pytest.raises(ModelError, match="closed"):
        first.submit([tree(1)])
    with pytest.raises(ModelError, match="the runtime is closed"):
        runtime.decoder(model, name="m", engine="packed")


def test_what_is_asked_for_by_many_at_once_is_opened_once() -> None:
    made: list[Counter] = []
    start = threading.Barrier(4)

    def make() -> Counter:
        made.append(Counter())
        return made[-1]

    def ask(number: int) -> Opened[int]:
        start.wait()
        return runtime.opened("key", make)

    with Runtime() as runtime, ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(ask, range(4)))
        assert len(made) == 1
        assert len(set(map(id, opened))) == 1
        assert runtime.opened("other", make) is not opened[0]
    assert [counter.closed for counter in made] == [1, 1]


def test_what_could_not_be_opened_is_tried_again() -> None:
    def fails() -> Counter:
        raise ModelError("no memory")

    runtime = Runtime()
    with pytest.raises(ModelError, match="no memory"):
        runtime.opened("key", fails)
    assert runtime.opened("key", Counter).info.name == "counter"
    runtime.close()
    runtime.close()


def test_a_tokenizer_is_opened_once(tiny_llama_path: Path) -> None:
    runtime = Runtime()
    tokenizer = runtime.tokenizer(tiny_llama_path)
    assert runtime.tokenizer(tiny_llama_path / ".") is tokenizer
    assert tokenizer.encode("a film")


def test_files_that_changed_since_they_were_loaded_are_told() -> None:
    runtime = Runtime()
    runtime.know("adapters/a", "1")
    runtime.know("adapters/a", "1")
    runtime.know("adapters/b", "2")
    with pytest.raises(ModelError, match="adapters/a: the files have changed since"):
        runtime.know("adapters/a", "3")
