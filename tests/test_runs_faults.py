"""Runs on machines that fail: engines, disks, damaged files, clocks, and a second process."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptrank.api.rank_run import rank_run
from promptrank.basics.owner import lock_file, owned
from promptrank.cli.endings import ending
from promptrank.engine.contract import Failure, Steps
from promptrank.errors import DataError, InputError, PromptrankError
from promptrank.requests.write import TableWriter
from promptrank.runs import shards
from support.damage import damages
from support.sharded import TASK, Scoring, SteppingEngine, errors_of, files_of, rows_of
from support.toys import make_project
from support.vllm import use_stub


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Scoring:
    return Scoring(make_project(tmp_path_factory.mktemp("faults") / "toys", tiny_llama_path))


@pytest.fixture(scope="module")
def unbroken(scoring: Scoring, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    scoring.run(folder)
    return folder


# ---- engines


def nan(score: Any) -> Any:
    slot = score[0][0]
    return ((replace(slot, logprobs=(float("nan"), *slot.logprobs[1:])), *score[0][1:]), *score[1:])


ORDERS: dict[str, Any] = {
    "raises": ValueError("the model is out of sorts"),
    "full": MemoryError(),
    "once": [KeyError("x")],
    "nan": nan,
    "short": lambda score: score[:1],
    "refused": lambda score: Failure("too_long", "by 3"),
}
LOST = {"raises": 2, "full": 2, "once": 0, "nan": 1, "short": 2, "refused": 2}
"""Candidates of the two that have no score then."""
REASONS = {"raises": "engine_error", "full": "out_of_memory", "nan": "odd_answer"}
REASONS |= {"short": "odd_answer", "refused": "too_long"}


@contextmanager
def injected(engine: SteppingEngine, orders: dict[int, str]) -> Iterator[None]:
    """What goes wrong, at which requests."""
    left = {f"r{n}": kind for n, kind in orders.items()}
    begin = SteppingEngine.begin

    def asked(ids: list[str]) -> None:
        for name in ids:
            order = ORDERS.get(left.get(name, ""))
            if isinstance(order, list):
                del left[name]
                raise order[0]
            if isinstance(order, Exception):
                raise order

    def faulty(trees: Any) -> Steps:
        for ready in begin(engine, trees):
            yield [(n, _changed(left.get(trees[n].tree_id, ""), score)) for n, score in ready]

    engine.asked, engine.begin = asked, faulty  # type: ignore[method-assign]
    try:
        yield
    finally:
        del engine.asked, engine.begin


def _changed(kind: str, score: Any) -> Any:
    order = ORDERS.get(kind)
    return order(score) if callable(order) else score


@pytest.mark.long
@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(orders=st.dictionaries(st.integers(0, 19), st.sampled_from([*ORDERS]), max_size=12))
def test_rows_in_are_rows_out_and_rows_in_errors(
    scoring: Scoring,
    unbroken: Path,
    tmp_path_factory: pytest.TempPathFactory,
    orders: dict[int, str],
) -> None:
    folder = tmp_path_factory.mktemp("injected") / "run"
    # The engine has answered before, so no fault is taken to be its own.
    scoring.ranker.opened.faults.answered = 1
    scoring.ranker.opened.faults.in_a_row = 0
    with injected(scoring.engine, orders):
        done = scoring.run(folder).counted
    errors = errors_of(folder)
    assert done.candidates == 40 == done.scored + done.set_aside
    assert done.set_aside == sum(LOST[kind] for kind in orders.values())
    assert done.scored == len(rows_of(folder)) and done.errors == len(errors)
    assert {(error["request_id"], error["reason"]) for error in errors} == {
        (f"r{n}", REASONS[kind]) for n, kind in orders.items() if kind != "once"
    }
    expected = {(row["request_id"], row["candidate_id"]): row["score"] for row in rows_of(unbroken)}
    for row in rows_of(folder):
        assert row["score"] == expected[row["request_id"], row["candidate_id"]]
    said = json.loads((folder / "summary.json").read_text())
    assert said["candidates"] == said["scored"] + said["removed"] + said["set_aside"]
    raised = any(kind in ("raises", "full", "once") for kind in orders.values())
    assert ("engine_errors" in said["faults"]) == raised


@pytest.mark.long
@pytest.mark.parametrize("what", ["die", pytest.param("hang", marks=pytest.mark.slow)])
def test_vllm_is_started_anew_in_a_run(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    use_stub(tmp_path, monkeypatch)
    (tmp_path / "once").write_text(what)
    (tmp_path / "unarmed").touch()
    said: list[str] = []
    done = rank_run(
        TASK,
        toys / "run",
        engine="vllm",
        project=toys,
        timeout=8.0 if what == "hang" else None,
        say=said.append,
    )
    assert (done.counted.set_aside, dict(done.counted.faults)) == (0, {"restarts": 1})
    words = "signal 9" if what == "die" else "sent nothing for 8 s and was ended"
    assert any(words in line and "starting another" in line for line in said)
    assert "the engine's process died and was started anew 1 time" in said
    assert (tmp_path / "log").read_text().count("start\n") == 2


@pytest.mark.long
def test_an_engine_that_answers_nothing_writes_nothing(
    tiny_llama_path: Path, tmp_path: Path
) -> None:
    scoring = Scoring(make_project(tmp_path / "toys", tiny_llama_path))
    for size in (8, 3):
        folder = tmp_path / f"run{size}"
        scoring.ranker.opened.faults.answered = 0
        broken = injected(scoring.engine, dict.fromkeys(range(20), "raises"))
        with broken, pytest.raises(ValueError, match="out of sorts"):
            scoring.run(folder, size=size)
        assert shards.numbers(folder) == [] and not list(folder.glob("scores/*"))
        assert scoring.run(folder, size=size).counted.errors == 0


# ---- full disks


def full_at(monkeypatch: pytest.MonkeyPatch, due: int) -> list[str]:
    """Have the disk be full at one of all the writes; what was tried."""
    tried: list[str] = []

    def limited(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            tried.append(name)
            if len(tried) == due:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*given, **more)

        return call

    for owner, name in (
        (TableWriter, "write_table"),
        (TableWriter, "write_rows"),
        (Path, "write_bytes"),
        (Path, "mkdir"),
        (Path, "replace"),
        (os, "fsync"),
    ):
        monkeypatch.setattr(owner, name, limited(name, getattr(owner, name)))
    return tried


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_write_stops_cleanly(
    scoring: Scoring, unbroken: Path, tmp_path: Path
) -> None:
    due, tried = 1, 0
    while True:
        folder = tmp_path / f"run{due}"
        with pytest.MonkeyPatch.context() as patch:
            names = full_at(patch, due)
            try:
                scoring.run(folder, size=10)
            except (OSError, DataError) as error:
                said = ending(error).words or ""
                assert "No space left on device" in said and "free some space" in said
                assert str(folder) in said or names[-1] == "mkdir"
            else:
                break
        assert not list(folder.rglob("*.part"))
        for number in shards.numbers(folder):
            assert shards.damage(folder, shards.read_shard(folder, number)) is None
        if folder.is_dir():
            assert not (folder / "summary.json").exists()
        scoring.run(folder, size=10)
        assert rows_of(folder) == rows_of(unbroken)
        due, tried = due + 1, tried + 1
    assert tried > 20, names


@pytest.mark.long
def test_what_a_full_disk_is_told_with(
    scoring: Scoring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = full_at(monkeypatch, 0)
    scoring.run(tmp_path / "whole")
    due = names.index("write_table") + 1
    full_at(monkeypatch, due)
    with pytest.raises(DataError) as raised:
        scoring.run(tmp_path / "run")
    said = str(raised.value)
    assert said.startswith(
        f"{tmp_path}/run/scores/000000.parquet: No space left on device: shard 0"
    )
    assert "takes up to" in said and said.endswith("the same command goes on where it was")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="mounts a small disk")
def test_a_small_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        from support.models import make_model

        scoring = Scoring(make_project(tmp_path / "toys", make_model(tmp_path / "model")))
        scoring.run(tmp_path / "unbroken", size=1)
        with pytest.raises((OSError, DataError)) as raised:
            scoring.run(disk / "run", size=1)
        assert "No space left on device" in (ending(raised.value).words or "")
        there = shards.numbers(disk / "run")
        assert 0 < len(there) < 20 and not list((disk / "run").rglob("*.part"))
        before = {n: shards.facts_path(disk / "run", n).stat().st_mtime_ns for n in there}
        larger = ["mount", "-o", "remount,size=8m", str(disk)]
        subprocess.run(larger, check=True, capture_output=True)
        assert scoring.run(disk / "run", size=1).resumed == len(there)
        assert files_of(disk / "run") == files_of(tmp_path / "unbroken")
        after = {n: shards.facts_path(disk / "run", n).stat().st_mtime_ns for n in there}
        assert after == before
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False, capture_output=True)


# ---- damaged files


NAMES = ["run.json", "summary.json", "shards/000001.json", "scores/000001.parquet"]
NAMES += ["errors/000001.jsonl", "prompts/000001.parquet"]


def damaged_words(data: bytes, written: bytes) -> bool:
    """Whether a file says something else; how JSON is set out says nothing."""
    if written[:1] != b"{" or data == written:
        return data != written
    return bool(json.loads(data) != json.loads(written))


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_damaged_is_mended_or_told(
    scoring: Scoring, unbroken: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "run"
    with injected(scoring.engine, {9: "refused"}):
        scoring.run(folder)
        whole, path = files_of(folder), folder / name
        written = path.read_bytes()
        step = max(1, len(written) // 12)
        faults = [written[:place] for place in range(0, len(written), step)]
        faults += [b"", *damages(written, 8, seed=1)]
        for damaged in faults:
            path.write_bytes(damaged)
            scoring.run(folder)
            if damaged_words(path.read_bytes(), written):
                raise AssertionError(f"{name}: is {path.read_bytes()[:200]!r}")
            assert files_of(folder) | {name: b""} == whole | {name: b""}
        path.unlink()
        scoring.run(folder)
        assert files_of(folder) == whole


@pytest.mark.long
def test_another_runs_damaged_manifest_is_not_written_over(
    scoring: Scoring, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    scoring.run(folder)
    path = folder / "run.json"
    path.write_bytes(path.read_bytes()[:-20])
    before = files_of(folder)
    with pytest.raises(PromptrankError, match=r"run\.json.*name another folder for the run"):
        scoring.run(folder, size=5)
    assert files_of(folder) == before


# ---- clocks


@pytest.mark.long
def test_clocks_may_jump(
    scoring: Scoring, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, jumps = time.time, 0

    def jumping() -> float:
        nonlocal jumps
        jumps += 1
        return wall() + (-1e8 if jumps % 2 else 1e8)

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(jumping() * 1e9))
    folder = tmp_path / "run"
    for _ in range(2):
        with owned(folder, "rank"):
            scoring.run(folder)
        for path in folder.rglob("*"):
            os.utime(path, (jumping(), jumping()))
    assert files_of(folder) == files_of(unbroken)


# ---- two at once


@pytest.mark.long
def test_a_run_of_another_host_is_refused_and_a_dead_one_is_not(tmp_path: Path) -> None:
    """As on a shared file system: the lock is the system's, who has it is told by the file."""
    folder = tmp_path / "run"
    place = lock_file(tmp_path, "run")
    about = {"promptrank": 1, "pid": 4711, "host": "node-7", "command": "promptrank rank"}
    code = (
        "import sys, fcntl, json; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX);"
        f"file.write(json.dumps({about!r})); file.flush(); print('held', flush=True);"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(place)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        said = r"run is being written by process 4711 on node-7"
        with pytest.raises(InputError, match=said), owned(folder, "rank"):
            pass
        other.kill()
    assert place.exists()
    with owned(folder, "rank"):
        assert json.loads(place.read_text())["pid"] == os.getpid()
    assert not place.exists()
