"""What goes into an object store of a run; here a folder stands for the store."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.basics.digests import file_digest
from promptrank.basics.owner import owned
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.runs import stored_runs
from promptrank.runs.run_ends import RunEnds, Unfinished
from promptrank.runs.sharded_run import StoppedBetween
from promptrank.runs.stored_runs import stored_run
from promptrank.runs.working_copies import working_copy

TASK = "toys/like"
ADDRESS = "s3://bucket/night"


class Store:
    """Objects as files of a folder, and what was done with them, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.did: list[str] = []

    def at(self, address: str) -> Path:
        return self.folder / address.removeprefix(ADDRESS).strip("/")

    def paths(self, address: str) -> dict[str, int]:
        every = sorted(p for p in self.at(address).rglob("*") if p.is_file())
        return {p.relative_to(self.at(address)).as_posix(): p.stat().st_size for p in every}

    def digest(self, address: str) -> str:
        self.did.append(f"read {address.removeprefix(f'{ADDRESS}/')}")
        return file_digest(self.at(address))

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
    monkeypatch.setattr(stored_runs, "object_digest", store.digest)
    monkeypatch.setattr(stored_runs, "check_bucket", lambda address: None)
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
def test_a_finished_run_is_read_and_mended(toys: Path, store: Store) -> None:
    with pytest.raises(StoppedBetween):
        run(toys, stop=iter((False, False, True)).__next__)
    shards = run(toys).shards
    assert not any(did.startswith("read ") for did in store.did)  # sizes do for one that goes on
    whole = {path: (store.folder / path).read_bytes() for path in store.paths(ADDRESS)}
    files = {path for path in whole if path.startswith(("scores/", "errors/", "prompts/", "ids/"))}
    for path in ("shards/000000.json", "scores/000001.parquet", "prompts/000002.parquet"):
        (store.folder / path).write_bytes(b"x" * len(whole[path]))
    scores = working_copy(ADDRESS) / "scores/000001.parquet"
    scores.write_bytes(b"PAR1")  # here too: only this shard is ranked again
    store.did.clear()
    assert run(toys).resumed == shards - 1
    assert {path: (store.folder / path).read_bytes() for path in whole} == whole
    read = {did.removeprefix("read ") for did in store.did if did.startswith("read ")}
    assert read == files - {"scores/000001.parquet"}  # which was fetched
    # What says which run it is may go too: the shards know.
    (store.folder / "run.json").unlink()
    assert run(toys).resumed == shards
    assert store.paths(ADDRESS).keys() == whole.keys()


@pytest.mark.long
def test_a_store_that_takes_nothing_is_known_before_anything_is_ranked(
    toys: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, address: str) -> bool:
        raise DataError(f"{address}: cannot be written")

    monkeypatch.setattr(stored_runs, "put_new", refuse)
    monkeypatch.setattr(stored_runs, "_LOOK", 60)
    with pytest.raises(DataError, match=r"run\.json: cannot be written"):
        run(toys)
    assert not list(working_copy(ADDRESS).rglob("scores/*"))


@pytest.mark.long
def test_a_run_is_told_by_its_address(toys: Path, store: Store) -> None:
    command = ["rank", TASK, "--engine", "fake", "--project", str(toys), "--summary", "-"]
    done = CliRunner().invoke(app, [*command, "--run", ADDRESS])
    told = json.loads(done.stdout)["runs"][0]
    assert (told["name"], told["folder"]) == ("night", ADDRESS)
    assert f"set aside -> {ADDRESS}\n" in done.stderr
    given: dict[str, Any] = {"engine": "fake", "project": toys}
    ends: RunEnds = {}
    other = f"{ADDRESS}/plan"
    summaries = rank_plan([TASK], other, **given, ends=ends)
    assert ends == summaries and [*ends] == ["toys-like"]
    assert summaries["toys-like"].folder == Path(f"{other}/toys-like")
    with pytest.raises(InputError, match="holds a run with") as error:
        rank_plan([TASK], other, **given, size=4, ends=ends)
    end = ends["toys-like"]
    assert isinstance(end, Unfinished) and f"{other}/toys-like: holds a run" in end.error
    assert working_copy(other).name not in end.error + str(error.value)


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
