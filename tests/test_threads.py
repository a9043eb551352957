"""Cores: how many we may use, how threads wait, and what is said where other work takes them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptrank.cli.progress import LogSteps
from promptrank.cli.taken import Taken, Used, used, words_between
from promptrank.engine import torch_threads
from promptrank.engine.cores import cores, quota


def group(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def own(folder: Path, text: str) -> Path:
    (folder / "cgroup").write_text(text)
    return folder / "cgroup"


def test_the_smallest_limit_on_the_way_counts(tmp_path: Path) -> None:
    root = group(tmp_path / "fs")
    mine = own(tmp_path, "0::/jobs/one\n")
    assert quota(root, mine) is None
    group(root / "jobs/one", cpu__max="max 100000\n")
    assert quota(root, mine) is None
    group(root / "jobs", cpu__max="250000 100000\n")
    assert quota(root, mine) == 2.5
    group(root / "jobs/one", cpu__max="50000 100000\n")
    assert quota(root, mine) == 0.5
    group(root / "jobs/two", cpu__max="10000 100000\n")  # not ours
    assert quota(root, mine) == 0.5


def test_a_container_sees_its_own_limit_at_the_root(tmp_path: Path) -> None:
    root = group(tmp_path / "fs", cpu__max="400000 100000\n")
    assert quota(root, own(tmp_path, "0::/docker/a1b2/not/here\n")) == 4


def test_groups_of_version_1(tmp_path: Path) -> None:
    root = group(tmp_path / "fs")
    mine = own(tmp_path, "9:memory:/m\n4:cpu,cpuacct:/box\n0::/\n")
    group(root / "cpu,cpuacct/box", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert quota(root, mine) is None
    group(root / "cpu,cpuacct/box", cpu__cfs_quota_us="150000\n")
    assert quota(root, mine) == 1.5


@pytest.mark.parametrize("text", ["", "nonsense", "5 0", "-1 100000", "1 2 3"])
def test_a_limit_that_cannot_be_read_is_none(text: str, tmp_path: Path) -> None:
    root = group(tmp_path / "fs", cpu__max=text)
    assert quota(root, own(tmp_path, "0::/\nnonsense\n")) is None
    assert quota(root, tmp_path / "nowhere") is None


@pytest.mark.parametrize(("limit", "most"), [(None, 8), (2.5, 3), (0.2, 1), (64.0, 8)])
def test_cores_go_by_affinity_and_limit(
    limit: float | None, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.engine.cores.quota", lambda: limit)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores() == most


@pytest.mark.parametrize(
    ("asked", "own_choice", "limit", "set_to"),
    [(3, 8, 2, 3), (None, 8, 2, 2), (None, 1, 2, None), (None, 2, 2, None)],
)
def test_torch_has_no_more_threads_than_cores_unless_asked(
    asked: int | None,
    own_choice: int,
    limit: int,
    set_to: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: own_choice)
    monkeypatch.setattr(torch_threads, "cores", lambda: limit)
    torch_threads.set_threads(asked)
    assert given == ([] if set_to is None else [set_to])


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, "10000 None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "active"}, "None active"),
    ],
)
def test_threads_are_told_not_to_spin_before_torch_is_there(
    given: dict[str, str], left: str
) -> None:
    chosen = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {k: v for k, v in os.environ.items() if k not in chosen} | given
    code = (
        "import os, sys, promptrank; assert 'torch' not in sys.modules; "
        "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == left


def at(seconds: float, everything: float, ours: float, count: int = 2) -> Used:
    return Used(seconds, count, everything, ours)


@pytest.mark.parametrize(
    ("everything", "ours", "count", "words"),
    [
        (20.0, 1.0, 2, "other work is using 1.9 of 2 cores"),
        (20.0, 10.0, 2, "other work is using 1.0 of 2 cores"),
        (20.0, 20.0, 2, ""),  # all ours
        (20.0, 16.0, 2, ""),  # what any system does by itself
        (10.0, 1.0, 2, ""),  # a core is idle
        (640.0, 160.0, 64, "other work is using 48.0 of 64 cores"),
        (600.0, 160.0, 64, ""),  # four cores are idle
        (10.0, 5.0, 1, "other work is using 0.5 of the core"),
        (25.0, 1.0, 2, "other work is using 2.0 of 2 cores"),  # ticks are counted late
    ],
)
def test_what_other_work_takes_in_words(
    everything: float, ours: float, count: int, words: str
) -> None:
    then, now = at(100, 50, 7, count), at(110, 50 + everything, 7 + ours, count)
    assert words_between(then, now) == words
    assert words_between(then, then) == ""


@given(st.floats(0, 100), st.floats(0, 200), st.floats(0, 200), st.integers(1, 64))
def test_more_than_all_cores_are_never_taken(
    seconds: float, everything: float, ours: float, count: int
) -> None:
    words = words_between(at(0, 0, 0, count), at(seconds, everything, ours, count))
    assert words == "" or 0 <= float(words.split()[4]) <= count


def stat(folder: Path, ticks: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = "1 (a name) with) S 1 1 1 0 -1 0 0 0 0 0"
    (folder / "stat").write_text(f"{head} {ticks} 1 2 3 20 0 1 0 5 6\n")


def test_what_is_read_of_a_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """cpu1 is not ours; a child and its child are, and one of them has just gone."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    monkeypatch.setattr(os, "getpid", lambda: 10)
    (tmp_path / "stat").write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\n"
        "cpu0 100 10 1 7000 600 5 4 30 88 99\n"
        "cpu1 900 0 0 0 0 0 0 0 0 0\n"
        "cpu2 50 0 0 0 0 0 0 0 0 0\n"
        "intr 1 2 3\n"
    )
    for process, ticks, children in ((10, 1000, "11 12 "), (11, 200, "13"), (13, 30, "")):
        stat(tmp_path / str(process), ticks)
        thread = tmp_path / str(process) / "task" / "1"
        thread.mkdir(parents=True)
        (thread / "children").write_text(children)
    found = used(tmp_path)
    assert found is not None
    assert found.cores == 2
    assert found.everything == pytest.approx((100 + 10 + 1 + 5 + 4 + 30 + 50) / 100)
    assert found.ours == pytest.approx((1000 + 200 + 30 + 3 * (1 + 2 + 3)) / 100)
    assert used(tmp_path / "nowhere") is None


def test_nobody_is_told_where_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Taken(lambda: None).words() == ""
    looks = iter([at(0, 0, 0), None, at(10, 20, 2)])
    taken = Taken(lambda: next(looks))
    assert (taken.words(), taken.words()) == ("", "other work is using 1.8 of 2 cores")
    looks = iter([at(0, 0, 0), at(10, 20, 2)])
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert Taken(lambda: next(looks)).words() == ""


def test_a_look_is_taken_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    looks = []

    def look() -> Used:
        looks.append(now[0])
        return at(now[0], 2 * now[0], 0)

    monkeypatch.setattr("promptrank.cli.taken.time.monotonic", lambda: now[0])
    taken = Taken(look)
    for _ in range(200):
        now[0] += 0.1
        taken.words()
    assert 4 <= len(looks) <= 5
    assert taken.words() == "other work is using 2.0 of 2 cores"


class Full(Taken):
    """A machine that others have taken."""

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def words(self) -> str:
        return "other work is using 1.9 of 2 cores"


def lines(counts: list[tuple[float, int]], total: int | None) -> list[str]:
    said: list[str] = []
    now = [0.0]
    steps = LogSteps("ranking", "requests", said.append, lambda: now[0], Full())
    for now[0], done in counts:
        steps(done, total)
    return said


def test_a_long_pass_tells_early_how_long_it_will_take_and_what_is_in_its_way() -> None:
    said = lines([(2.0 * done, done) for done in range(1001)], 1000)
    assert said[0] == (
        "ranking: 3 of 1,000 requests, 30 requests a minute, 33 min left, "
        "other work is using 1.9 of 2 cores"
    )
    assert said[1].startswith("ranking: 100 of 1,000 requests, 30 requests a minute, 30 min left")
    assert len(said) == 11


def test_a_short_pass_has_no_line_before_a_tenth_is_done() -> None:
    said = lines([(0.5 * done, done) for done in range(101)], 100)
    assert said[0].startswith("ranking: 10 of 100")
    assert len(lines([(float(done), done) for done in range(100)], None)) == 3
