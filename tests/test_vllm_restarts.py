"""A vLLM process that dies is started anew: what is tried again, what is not, and who is told."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from promptrank.engine.contract import Branch, EngineInfo, Failure, Slot, Tree, TreeScore
from promptrank.engine.fake import FakeEngine
from promptrank.engine.tree_checks import Limits
from promptrank.engine.vllm_engine import process
from promptrank.engine.vllm_engine.adapter_files import Adapter, ReadAdapters
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.restarts import Backoff, Restarts
from promptrank.engine.vllm_engine.vllm import VllmEngine
from promptrank.errors import ModelError
from promptrank.runtime.runtime import Runtime
from support import vllm_stub
from support.vllm import use_stub

Make = Callable[[Restarts | None], VllmEngine]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_stub(tmp_path, monkeypatch)
    monkeypatch.setattr(ReadAdapters, "of", lambda self, name: Adapter(name, name, 4))
    return tmp_path


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    opened: list[VllmEngine] = []

    def engine(restarts: Restarts | None) -> VllmEngine:
        info = EngineInfo("vllm", "stub", "0", "float32", 64)
        settings = Launch(str(folder), "float32", 64, 1, lora_rank=8)
        opened.append(VllmEngine(settings, info, Limits(64, 100), restarts))
        return opened[-1]

    yield engine
    for each in opened:
        each.close()


def tree(first: int, *more: int, adapter: str | None = None) -> Tree:
    slot = Slot((7,), ((1,), (2,)))
    return Tree(
        f"r{first}", (first, *more), (Branch((3,), (slot,)), Branch((4,), (slot,))), 0, adapter
    )


def undisturbed(first: int, *more: int) -> object:
    """By hand what the stub says of a tree without an adapter."""
    asked = [[first, *more, branch, 7] for branch in (3, 4)]
    return tuple(vllm_stub.logprobs(ids, [1, 2], None) for ids in asked)


def said(score: TreeScore) -> object:
    assert not isinstance(score, Failure), score
    return tuple([*slot.logprobs] for branch in score for slot in branch)  # type: ignore[union-attr]


def state(restarts: Restarts, engine: VllmEngine) -> tuple[int, bool, bool]:
    return restarts.total, restarts.down, engine.ailing


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().split("\n")[:-1]


def answers(engine: VllmEngine, trees: Sequence[Tree]) -> dict[int, TreeScore]:
    return {place: score for ready in engine.begin(trees) for place, score in ready}


def test_the_process_says_what_it_computes_on(make: Make) -> None:
    engine = make(None)
    assert engine.info.device == "cuda"
    engine.lengthen(128)
    assert (engine.info.device, engine.info.max_tokens) == ("cuda", 128)


def kill(engine: VllmEngine) -> None:
    assert engine.process_id is not None
    os.kill(engine.process_id, signal.SIGKILL)


def test_without_restarts_a_death_is_an_error(make: Make, folder: Path) -> None:
    engine = make(None)
    kill(engine)
    for _ in range(2):
        with pytest.raises(ModelError, match="signal 9"):
            answers(engine, [tree(10)])
    assert log(folder) == ["start"] and not engine.ailing


def test_what_was_under_way_is_answered_by_a_new_process(make: Make, folder: Path) -> None:
    told: list[str] = []
    engine = make(restarts := Restarts(told.append))
    (folder / "slow").touch()  # it has taken nothing in when it dies
    groups = [engine.begin([tree(10), tree(11)]), engine.begin([tree(12)])]
    assert [next(group) for group in groups] == [[], []]
    kill(engine)
    (folder / "slow").unlink()
    first = dict(pair for ready in groups[0] for pair in ready)
    assert {place: said(score) for place, score in first.items()} == {
        0: undisturbed(10),
        1: undisturbed(11),
    }
    assert [said(score) for ready in groups[1] for _, score in ready] == [undisturbed(12)]
    assert restarts.total == 1 and not restarts.down
    assert "signal 9" in told[0] and told[1:] == ["the vLLM process that took its place answers"]
    assert engine.caches == {"prefix_tokens": (6, 6 * 3 - 6)}


def test_what_it_dies_of_twice_is_not_tried_a_third_time_and_fails_alone(
    make: Make, folder: Path
) -> None:
    engine = make(restarts := Restarts())
    scores = answers(engine, [tree(10), tree(11, vllm_stub.POISON), tree(12), tree(13)])
    bad = scores.pop(1)
    assert isinstance(bad, Failure) and bad.reason == "killed_engine" and "r11" in bad.message
    assert [said(scores[place]) for place in (0, 2, 3)] == [undisturbed(n) for n in (10, 12, 13)]
    assert log(folder).count("prompt 11") == 2 == restarts.total
    # The next ones find a process that is up, and are told nothing.
    assert said(answers(engine, [tree(14)])[0]) == undisturbed(14)
    assert log(folder).count("start") == 3


def test_adapters_are_loaded_again(make: Make, folder: Path) -> None:
    engine = make(Restarts())
    trees = [tree(10, adapter="a"), tree(11, adapter="b")]
    before = answers(engine, trees)
    kill(engine)
    assert answers(engine, trees) == before
    assert [line for line in log(folder) if "adapter" in line] == ["adapter a", "adapter b"] * 2


def test_an_adapter_that_it_dies_of_is_refused(make: Make, folder: Path) -> None:
    engine = make(restarts := Restarts())
    for _ in range(2):
        scores = answers(engine, [tree(10), tree(11, adapter="poison")])
        bad = scores[1]
        assert said(scores[0]) == undisturbed(10)
        assert isinstance(bad, Failure) and bad.reason == "bad_adapter"
        assert "died of it 2 times" in bad.message
    assert restarts.total == 2


def test_whatever_was_not_answered_when_it_is_given_up_is_an_error(
    make: Make, folder: Path
) -> None:
    engine = make(Restarts(free=1))
    assert said(answers(engine, [tree(10), tree(11, adapter="a")])[0]) == undisturbed(10)
    (folder / "slow").touch()
    groups = [engine.begin([tree(12, adapter="a")]), engine.begin([tree(13)])]
    assert [next(group) for group in groups] == [[], []]
    (folder / "deadly").touch()  # nothing of the first group is sent again when it dies again
    kill(engine)
    (folder / "slow").unlink()
    for group in groups:
        with pytest.raises(ModelError, match=r"failed 2 times in a row, .* started again in 2 s"):
            list(group)


@pytest.mark.long
def test_where_it_cannot_be_started_all_are_told_and_it_is_tried_again(
    make: Make, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.engine.vllm_engine.restarts._SHORTEST", 60.0)
    engine = make(restarts := Restarts())
    (folder / "slow").touch()
    groups = [engine.begin([tree(10)]), engine.begin([tree(11)])]
    assert [next(group) for group in groups] == [[], []]
    (folder / "broken").touch()
    kill(engine)
    (folder / "slow").unlink()
    for group in groups:
        with pytest.raises(ModelError, match="broken"):
            list(group)
    # Who asks now is told at once; it is tried again once some time has passed.
    assert state(restarts, engine) == (0, True, False)
    with pytest.raises(ModelError, match=r"started again in (60|5\d) s"):
        answers(engine, [tree(12)])
    monkeypatch.setattr(engine._said, "_backoff", Backoff())
    assert engine.ailing and log(folder).count("start") == 2
    with pytest.raises(ModelError, match="broken"):
        engine.mend()
    (folder / "broken").unlink()
    monkeypatch.setattr(engine._said, "_backoff", Backoff())
    engine.mend()
    assert state(restarts, engine) == (1, False, False)
    assert said(answers(engine, [tree(12)])[0]) == undisturbed(12)


def test_a_process_that_died_while_nobody_asked_is_seen_and_started(make: Make) -> None:
    engine = make(restarts := Restarts())
    assert state(restarts, engine) == (0, False, False)
    kill(engine)
    while not engine.ailing:
        time.sleep(0.005)
    engine.mend()
    assert state(restarts, engine) == (1, False, False)
    assert said(answers(engine, [tree(10)])[0]) == undisturbed(10)


def test_a_runtime_looks_after_what_it_has_opened(make: Make, folder: Path) -> None:
    with Runtime(restarts := Restarts()) as runtime:
        runtime.mend()
        opened = runtime.opened("stub", lambda: make(restarts))
        runtime.opened("other", lambda: FakeEngine())
        runtime.mend()
        assert log(folder) == ["start"]
        engine = opened.engine
        assert isinstance(engine, VllmEngine)
        kill(engine)
        while restarts.total == 0:
            runtime.mend()
        (answer,) = opened.submit([tree(10)])
        assert said(opened.result(answer)) == undisturbed(10)
    assert not restarts.down


def test_a_group_that_was_given_up_is_not_tried_again(make: Make, folder: Path) -> None:
    engine = make(Restarts())
    (folder / "slow").touch()
    gone, stays = engine.begin([tree(10)]), engine.begin([tree(11)])
    next(gone), next(stays)
    gone.close()
    kill(engine)
    (folder / "slow").unlink()
    assert [said(score) for ready in stays for _, score in ready] == [undisturbed(11)]
    assert "prompt 10" not in log(folder)


@pytest.mark.long
def test_what_hangs_is_ended_and_what_it_hung_at_is_known(make: Make, folder: Path) -> None:
    """The stub answers all but the tree that it hangs at, twice; then that one fails alone."""
    told: list[str] = []
    engine = make(restarts := Restarts(told.append))
    engine._said._seconds = 1.5
    trees = [tree(10), tree(11, vllm_stub.HANGS), tree(12)]
    scores = answers(engine, trees)
    bad = scores.pop(1)
    assert isinstance(bad, Failure) and bad.reason == "killed_engine" and "r11" in bad.message
    assert [said(scores[place]) for place in (0, 2)] == [undisturbed(10), undisturbed(12)]
    assert restarts.total == 2
    assert "the vLLM process sent nothing for 1.5 s and was ended" in told[0]


def test_a_message_in_pieces_is_read_whole(make: Make, folder: Path) -> None:
    """Longer than a pipe holds, and two in one read."""
    engine = make(None)
    long = Tree("long", tuple(range(10, 60)), tree(10).branches)
    assert said(answers(engine, [tree(12), long])[0]) == undisturbed(12)
    process = engine._said._process
    assert process is not None
    process._read += b'{"a": 1}\n{"b"'
    assert process.receive(0.01) == {"a": 1}
    with pytest.raises(ModelError, match=r"sent nothing for 0\.01 s"):
        process.receive(0.01)


def test_the_longer_it_dies_the_longer_it_is_waited_for() -> None:
    now = 0.0
    backoff = Backoff(lambda: now)
    waits = []
    for _ in range(12):
        backoff.died()
        waits.append(backoff.left)
    assert waits == [0, 0, 0, 0, 2, 4, 8, 16, 32, 60, 60, 60]
    now = 59.0
    assert backoff.left == 1
    now = 120.0
    backoff.worked()
    backoff.died()
    assert backoff.left == 0
    backoff.failed()
    assert backoff.left == 2


def test_the_child_is_what_the_process_runs() -> None:
    from promptrank.engine.vllm_engine import child

    assert ("-m", child.__name__) == process.CHILD
