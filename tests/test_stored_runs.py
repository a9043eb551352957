"""What goes into an object store of a run; here a folder stands for the store."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.basics.owner import owned
from promptrank.runs import stored_runs
from promptrank.runs.sharded_run import StoppedBetween
from promptrank.runs.stored_runs import stored_run

TASK = "toys/like"
ADDRESS = "s3://bucket/night"


class Store:
    """Objects as files of a folder, and what was done with them, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.did: list[str] = []

    def at(self, address: str) -> Path:
        return self.folder / address.removeprefix(ADDRESS).strip("/")

    def paths(self, address: str) -> list[str]:
        every = self.at(address).rglob("*")
        return sorted(p.relative_to(self.at(address)).as_posix() for p in every if p.is_file())

    def fetch(self, address: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.at(address), path)

    def put(self, path: Path, address: str) -> None:
        self.did.append(f"put {address.removeprefix(f'{ADDRESS}/')}")
        self.at(address).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, self.at(address))

    def put_new(self, path: Path, address: str) -> bool:
        new = not self.at(address).exists()
        if new:
            self.put(path, address)
        return new

    def take_away(self, address: str) -> None:
        self.did.append(f"remove {address.removeprefix(f'{ADDRESS}/')}")
        self.at(address).unlink(missing_ok=True)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store(tmp_path / "store")
    monkeypatch.setattr(stored_runs, "paths_below", store.paths)
    for name in ("fetch", "put", "put_new", "take_away"):
        monkeypatch.setattr(stored_runs, name, getattr(store, name))
    monkeypatch.setattr(stored_runs, "_LOOK", 0.01)
    machine("one", tmp_path, monkeypatch)
    return store


def machine(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTRANK_CACHE", str(place / name))


def run(root: Path, folder: str | Path = ADDRESS, **more: Any) -> Any:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3} | more
    return rank_run(TASK, folder, **given)


@pytest.mark.long
def test_shards_of_a_run_that_is_gone_never_come_back(
    toys: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(toys).shards > 1
    shutil.rmtree(store.folder)
    machine("two", tmp_path, monkeypatch)
    run(toys, size=1000)
    theirs = store.paths(ADDRESS)
    machine("one", tmp_path, monkeypatch)
    run(toys, size=1000)
    assert store.paths(ADDRESS) == theirs


@pytest.mark.long
def test_a_shard_that_says_it_is_of_another_run_is_not_put(toys: Path, store: Store) -> None:
    with stored_run(ADDRESS) as stored:
        run(toys, stored.folder)
        run(toys, toys / "other", size=2)
        last = sorted((toys / "other/shards").glob("*.json"))[-1]
        assert not (stored.folder / "shards" / last.name).exists()
        for name in (*json.loads(last.read_text())["files"], f"shards/{last.name}"):
            shutil.copy(toys / "other" / name, stored.folder / name)
    assert f"shards/{last.name}" not in store.paths(ADDRESS)
    assert "shards/000000.json" in store.paths(ADDRESS)


@pytest.mark.long
def test_what_was_fetched_is_not_read_again(
    toys: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(toys)
    shards: list[Path] = []
    with monkeypatch.context() as patch:
        patch.setattr(stored_runs.StoredRun, "_put_shard", lambda _, facts: shards.append(facts))
        run(toys)
    assert shards == []


@pytest.mark.long
def test_a_summary_goes_before_the_first_new_shard(toys: Path, store: Store) -> None:
    given: dict[str, Any] = {"engine": "fake", "project": toys, "size": 9}
    other = toys / "tasks/toys/other.yaml"
    other.write_text((toys / "tasks/toys/like.yaml").read_text())
    rank_plan([TASK, "toys/other"], ADDRESS, **given)
    assert "summary.json" in store.paths(ADDRESS)
    shutil.rmtree(next(p for p in (store.folder).rglob("shards")))  # one of them is to go on
    shutil.rmtree(toys.parent / "one", ignore_errors=True)
    with pytest.raises(StoppedBetween):
        rank_plan([TASK, "toys/other"], ADDRESS, **given, stop=lambda: True)
    assert "summary.json" not in store.paths(ADDRESS)
    store.did.clear()
    rank_plan([TASK, "toys/other"], ADDRESS, **given)
    assert store.did[-1] == "put summary.json"


def old_copy(tmp_path: Path) -> Path:
    copy = tmp_path / "one/runs/old-1"
    copy.mkdir(parents=True)
    (copy / "summary.json").write_text("{}")
    os.utime(copy / "summary.json", (0, 0))
    return copy


def test_a_working_copy_that_somebody_holds_is_left(
    toys: Path, store: Store, tmp_path: Path
) -> None:
    copy = old_copy(tmp_path)
    with owned(copy, "rank", name=f"{copy.name}.store"), stored_run(ADDRESS):
        assert copy.is_dir()
    with stored_run(ADDRESS):
        assert not copy.exists()
