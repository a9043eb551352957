"""Processes that prepare prompts: the files of a run are those without them, whatever happens."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.api.rank_run import rank_run
from promptrank.basics.own_processes import receive, send
from promptrank.engine.contract import Branch, Slot, SlotScore, Steps, Tree, Window
from promptrank.engine.fake import FakeEngine
from promptrank.errors import DataError, InputError
from promptrank.prompt.tokenizer import open_tokenizer
from promptrank.ranking.methods.pointwise import Pointwise
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.requests.source import RequestFile
from promptrank.runs import preparation, preparing_processes, shards
from promptrank.runs.nothing_scored import NothingScored
from promptrank.runs.preparation import Preparation, prepared
from promptrank.runs.preparing_processes import PreparedBlocks
from promptrank.runs.request_blocks import RequestBlock, request_blocks
from promptrank.runs.sharded_run import RunSummary, StoppedBetween
from promptrank.runtime.opened import Opened

TASK = "toys/like"
TEMPLATE = "templates/toys/like.j2"


def run(root: Path, folder: str, **more: Any) -> RunSummary:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3} | more
    return rank_run(TASK, root / folder, **given)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run but what only tells of its start, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


class Within:
    """Stands for a process: the same messages, through bytes, made in this process."""

    rendered = 0

    def __init__(self, preparation: Preparation, wanted: Any, stack: Any) -> None:
        pipe = io.BytesIO()
        send(pipe, (preparation, wanted))
        pipe.seek(0)
        self._made = prepared(*receive(pipe))

    def __enter__(self) -> "Within":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def next(self) -> Any:
        made = next(self._made, None)
        if isinstance(made, list):
            Within.rendered += len(made)
        pipe = io.BytesIO()
        send(pipe, made)
        pipe.seek(0)
        return receive(pipe)


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(preparing_processes, "_Process", Within)
    Within.rendered = 0
    yield


@pytest.mark.long
@pytest.mark.usefixtures("within")
@pytest.mark.parametrize("processes", [1, 2])
def test_the_files_are_those_without(toys: Path, processes: int) -> None:
    once = run(toys, "without")
    told: list[int] = []
    done = run(toys, "with", prepare=processes, progress=lambda now, total: told.append(now))
    assert files(toys / "with") == files(toys / "without")
    assert done.counted == once.counted
    assert told == sorted(told) and told[-1] == done.counted.requests == Within.rendered


@pytest.mark.long
@pytest.mark.usefixtures("within")
def test_a_stopped_run_goes_on_and_renders_nothing_again(toys: Path) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(len(asked))
        return len(asked) > 2

    with pytest.raises(StoppedBetween):
        run(toys, "run", stop=stop, prepare=1)
    assert len(shards.numbers(toys / "run")) == 2  # the one in hand was finished
    Within.rendered = 0
    done = run(toys, "run", prepare=1)
    assert (done.resumed, Within.rendered) == (2, done.counted.requests - 2 * 3)
    run(toys, "without")
    assert files(toys / "run") == files(toys / "without")
    # Of a gap between shards that are done, only that is prepared.
    (toys / "run" / "summary.json").unlink()
    (toys / "run" / "scores" / "000001.parquet").write_bytes(b"")
    Within.rendered = 0
    assert run(toys, "run", prepare=1).resumed == done.shards - 1
    assert Within.rendered == 3
    assert files(toys / "run") == files(toys / "without")


@pytest.mark.slow
@pytest.mark.usefixtures("within")
def test_since_takes_over_what_processes_have_prepared(toys: Path) -> None:
    run(toys, "old")
    again = run(toys, "again", since=toys / "old", prepare=2)
    assert again.counted.reused == again.counted.requests
    plain = run(toys, "plain", since=toys / "old")
    assert files(toys / "again") == files(toys / "plain")
    assert plain.counted == again.counted


@pytest.mark.long
@pytest.mark.usefixtures("within")
def test_rows_at_fault_are_told_as_without(toys: Path) -> None:
    template = toys / TEMPLATE
    template.write_text(template.read_text().replace("item.title", "item.title / 2"))
    (toys / "torn.jsonl").write_text('{"request_id": "r1"\n{"request_id": "r2", "item_id": "i"}\n')
    for name, requests in (("", None), ("torn", toys / "torn.jsonl")):
        for prepare in (0, 2):
            with pytest.raises(NothingScored):
                run(toys, f"{name}{prepare}", requests=requests, prepare=prepare)
        assert any(path.stat().st_size for path in (toys / f"{name}0/errors").iterdir())
        assert files(toys / f"{name}2") == files(toys / f"{name}0")


class Slow(FakeEngine):
    """Says how many groups wait whenever it is asked for another."""

    window = Window(2, 1000)
    seen: ClassVar[list[tuple[str, ...]]] = []

    def begin(self, trees: Any) -> Steps:
        Slow.seen.append(tuple(tree.tree_id for tree in trees))
        for ready in super().begin(trees):
            time.sleep(0.001)
            yield ready


@pytest.mark.long
@pytest.mark.usefixtures("within")
def test_groups_are_the_same_and_never_cross_a_shard(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.engine.fake.FakeEngine", Slow)
    seen: list[list[tuple[str, ...]]] = []
    for folder, count in (("without", 0), ("with", 1)):
        Slow.seen = []
        run(toys, folder, prepare=count, size=5)
        seen.append(Slow.seen)
    assert seen[0] == seen[1]
    assert {len(group) for group in seen[0]} == {1, 2}
    assert files(toys / "with") == files(toys / "without")


@pytest.mark.long
@pytest.mark.usefixtures("within")
def test_a_shard_is_begun_before_the_rankings_of_the_last_one_are_made(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.engine.fake.FakeEngine", Slow)
    told: list[tuple[str, str]] = []
    submit, ranking, pose = Opened.submit, Pointwise._ranking, PreparedBlocks._of

    def submitted(opened: Opened[Any], works: Any) -> Any:
        told.append(("asked", works[0].tree_id))
        return submit(opened, works)

    def ranked(method: Pointwise, posed: Any, result: Any) -> Any:
        told.append(("ranked", posed.request.request_id))
        return ranking(method, posed, result)

    def posed(prepared: PreparedBlocks, request: Request) -> Any:
        told.append(("posed", request.request_id))
        return pose(prepared, request)

    monkeypatch.setattr(Opened, "submit", submitted)
    monkeypatch.setattr(Pointwise, "_ranking", ranked)
    monkeypatch.setattr(PreparedBlocks, "_of", posed)
    run(toys, "run", prepare=1, size=5)
    names = [name for what, name in told if what == "ranked"]
    at = {pair: place for place, pair in enumerate(told)}  # some are posed before, for the amount
    assert len(names) == 12
    for place in range(5, len(names), 5):
        first, last = names[place], names[place - 1]
        # Of the shard before, two groups of two and one of one, the last is with the engine.
        assert at["asked", last] < at["posed", first]
        assert at["posed", names[place + 1]] < at["asked", first] < at["ranked", last]


@pytest.mark.long
@pytest.mark.usefixtures("within")
def test_what_cannot_be_prepared_is_refused(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="--prepare -1: give 0 to"):
        run(toys, "run", prepare=-1)
    stamps = iter(["before", "before", "after"])
    monkeypatch.setattr(RequestFile, "items_stamp", lambda self: next(stamps))
    with pytest.raises(DataError, match="table of items changed"):
        run(toys, "run", prepare=1)


@pytest.mark.long
@pytest.mark.usefixtures("within")
def test_a_shard_in_hand_is_finished_before_it_is_told_that_the_next_cannot_be_read(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> Iterator[RequestBlock]:
        yield from islice(request_blocks(*given), 2)
        raise DataError("the rest of the file cannot be read")

    monkeypatch.setattr(preparation, "request_blocks", broken)
    with pytest.raises(DataError, match="the rest of the file"):
        run(toys, "run", prepare=1)
    assert len(shards.numbers(toys / "run")) == 2
    monkeypatch.undo()
    assert run(toys, "run").resumed == 2
    run(toys, "without")
    assert files(toys / "run") == files(toys / "without")


@pytest.mark.slow
def test_what_cannot_be_unpickled_is_raised_and_waited_for_by_nobody(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data: bytes) -> Any:
        raise MemoryError("no room for it")

    monkeypatch.setattr(preparing_processes, "value_of", full)
    with pytest.raises(MemoryError, match="no room for it"):
        run(toys, "run", prepare=1)


@dataclass(frozen=True)
class Odd:
    """A dataclass without slots."""

    one: int


_values = st.recursive(
    st.none() | st.integers() | st.floats(allow_nan=False) | st.text() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(_values, st.lists(st.integers(0, 2**40), max_size=5))
@settings(max_examples=30, deadline=None)
def test_what_is_handed_over_comes_back_the_same(value: Any, ids: list[int]) -> None:
    item = Item("i", {"a": value}, ("key", 3))
    tree = Tree("r", tuple(ids), (Branch(tuple(ids), (Slot((1,), ((2, 3), (4,))),)),), 1)
    request = Request("r", Subject("m", {"x": value}), (Candidate("c", item), Candidate("d", item)))
    given = [request, tree, Odd(3), SlotScore((0.5,), 0.1, None)]
    pipe = io.BytesIO()
    send(pipe, given)
    pipe.seek(0)
    back = receive(pipe)
    assert back == given
    assert back[0].candidates[0].item is back[0].candidates[1].item
    with pytest.raises(EOFError):
        receive(pipe)


ENCODE = """
import json, sys
from promptrank.runs.preparing_processes import without_models
without_models()
from promptrank.prompt.tokenizer import open_tokenizer
words = open_tokenizer(sys.argv[1])
print(json.dumps([words.fingerprint, words.encode("a good film"), words.chat.head[1]]))
assert sys.modules["torch"] is None
"""


@pytest.mark.long
def test_who_prepares_loads_no_models_and_has_the_same_ids(tiny_llama_path: Path) -> None:
    command = [sys.executable, "-c", ENCODE, str(tiny_llama_path)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b""
    words = open_tokenizer(tiny_llama_path)
    ids = words.encode("a good film")
    assert json.loads(done.stdout) == [words.fingerprint, [*ids], [*words.chat.head[1]]]


def many(root: Path, count: int) -> Path:
    rows = (
        {"request_id": f"r{n}", "member_id": f"m{n}", "member": {"name": f"N{n}"}}
        | {"candidate_id": c, "item_id": f"{c}{n}", "item": {"title": f"T{n}", "color": "red"}}
        for n in range(count)
        for c in "ab"
    )
    path = root / "many.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


PROGRAM = """
import promptrank.runs.preparing_processes as preparing
preparing.AHEAD = 50_000  # so that who prepares is at it when killed
from promptrank.__main__ import start
start()
"""


def command(root: Path, folder: str, count: int) -> list[str]:
    words = ["rank", TASK, "--engine", "fake", "--project", str(root), "--shard", "20"]
    words += ["--requests", str(many(root, count)), "--run", str(root / folder), "--prepare", "2"]
    return [sys.executable, "-c", PROGRAM, *words]


def until_shards(process: "subprocess.Popen[str]", folder: Path, count: int) -> None:
    while process.poll() is None and (not folder.exists() or len(shards.numbers(folder)) < count):
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()


@pytest.mark.slow
def test_processes_that_are_killed_are_told_and_leave_no_orphans(toys: Path) -> None:
    count = 3_000
    words = command(toys, "run", count)
    folder = toys / "run"
    # A process that prepares is killed.
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    until_shards(process, folder, 3)
    prepares = psutil.Process(process.pid).children()
    assert len(prepares) == 2
    prepares[1].send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "a process that prepared prompts ended by itself (-9)" in said
    psutil.wait_procs(prepares, timeout=20)
    assert not any(each.is_running() for each in prepares)
    # The one that asks the engine is killed.
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL, text=True)
    until_shards(process, folder, len(shards.numbers(folder)) + 3)
    prepares = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, left = psutil.wait_procs(prepares, timeout=60)
    assert not left
    # Ctrl-C goes to all of them.
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until_shards(process, folder, len(shards.numbers(folder)) + 3)
    prepares = psutil.Process(process.pid).children()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "the same command goes on with it" in said
    assert "Traceback" not in said
    assert not psutil.wait_procs(prepares, timeout=20)[1]
    assert len(shards.numbers(folder)) < count / 20
    subprocess.run(words, check=True, capture_output=True)
    run(toys, "without", requests=toys / "many.jsonl", size=20)
    assert files(folder) == files(toys / "without")


@pytest.mark.slow
def test_what_a_process_meets_is_told_in_its_words(toys: Path) -> None:
    path = many(toys, 100)
    with path.open("a") as file:
        file.write('{"request_id": "z", "item_id": "i", "colour": 1}\n')
    for count in (0, 1):
        with pytest.raises(DataError, match=r"many\.jsonl:201: no column 'colour'"):
            run(toys, f"run{count}", requests=path, prepare=count)
