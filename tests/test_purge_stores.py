"""Purge of runs in an object store, of working copies of them, and of folders of many nights."""

import os
import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from promptrank.api.purge import Purged, purge
from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.places import object_store
from promptrank.places.object_store import is_there, take_away
from promptrank.purging import purge_stored
from promptrank.runs.sharded_run import StoppedBetween
from promptrank.runs.stored_runs import stored_run
from promptrank.runs.working_copies import working_copy
from support.stores import SCHEMES, Bucket, bucket_of

TASK, GONE = "toys/like", "p1"
_numbers = count()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with bucket_of("s3") as server:
        yield server


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, as a machine has one."""
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "machine"))
    monkeypatch.delenv("PROMPTRANK_OFFLINE", raising=False)
    return tmp_path / "machine"


@pytest.fixture
def place() -> str:
    return f"purged/{next(_numbers)}"


def run(root: Path, folder: str | Path, **more: Any) -> Any:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 6}
    return rank_run(TASK, folder, **(given | {"splits": {"train", "test"}} | more))


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name[0] != "."]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths if p.name != "run.json"}


def there(bucket: Bucket, place: str) -> dict[str, bytes]:
    below = bucket.objects(f"{place}/")
    names = {key.removeprefix(f"{place}/"): value for key, value in below.items()}
    return {name: value for name, value in names.items() if name != "run.json"}


def people(folder: Path) -> set[str]:
    return {
        row["subject_id"]
        for path in folder.rglob("*.parquet")
        for row in pq.read_table(path, partitioning=None).to_pylist()
        if "subject_id" in row
    }


def proved(purged: Purged) -> None:
    assert purged.left == () and purged.looked > 0


@pytest.mark.slow
def test_a_person_leaves_a_run_in_a_store_and_its_working_copy(
    toys: Path, bucket: Bucket, place: str, machine: Path
) -> None:
    address = f"{bucket.root}/{place}"
    run(toys, address)
    run(toys, toys / "local")
    before = there(bucket, place)
    told = purge(GONE, project=toys, runs=[address], dry=True, items=False)
    assert told.left and there(bucket, place) == before
    command = ["purge", "--subject", GONE, "--run", address, "--project", str(toys), "--no-items"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    amount = told.removed[0].told()
    assert amount and f"{address}: {amount} removed\n" in done.output
    assert f"{working_copy(address)}: {amount} removed\n" in done.output
    assert f"not looked into: {address}: working copies on other machines" in done.output
    proved(purge(GONE, project=toys, runs=[toys / "local"], items=False))
    assert there(bucket, place) == files_of(toys / "local")
    assert people(working_copy(address)) == people(toys / "local")
    again = CliRunner().invoke(app, command)
    assert f"nothing of {GONE} in {address}, {working_copy(address)}\n" in again.output
    # It is a run still, of which nothing is ranked again.
    assert run(toys, address).resumed == len(list((toys / "local/shards").glob("*.json")))
    assert there(bucket, place) == files_of(toys / "local")


@pytest.mark.slow
def test_a_purge_of_a_store_that_is_killed_goes_on(
    toys: Path, bucket: Bucket, place: str, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{bucket.root}/{place}"
    run(toys, toys / "local", size=30)
    whole = files_of(toys / "local")
    about = (toys / "local/run.json").read_bytes()
    purge(GONE, project=toys, runs=[toys / "local"], items=False)
    purged = files_of(toys / "local")

    class Killed(BaseException):
        pass

    real_put, real_away = object_store.put, object_store.take_away
    for steps in count():
        for name in there(bucket, place):
            bucket.delete(f"{place}/{name}")
        for name, body in {**whole, "run.json": about}.items():
            bucket.put(f"{place}/{name}", body)
        left = iter(range(steps))

        def step(act: Any, *given: Any, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Killed
            act(*given)

        with monkeypatch.context() as patch:
            patch.setattr(purge_stored, "put", lambda *given: step(real_put, *given))
            patch.setattr(purge_stored, "take_away", lambda *given: step(real_away, *given))
            try:
                purge(GONE, project=toys, runs=[address], items=False)
            except Killed:
                pass
            else:
                break
        if f"{place}/purge.json" in bucket.objects(f"{place}/"):
            with pytest.raises(InputError, match="a purge of it was stopped; give that"):
                run(toys, address, size=30)
        # Somebody else's purge comes first, and finishes what was said in the store.
        purge("nobody-of-that-name", project=toys, runs=[address])
        proved(purge(GONE, project=toys, runs=[address], items=False))
        assert there(bucket, place) == purged, steps
    assert steps > 8


@pytest.mark.slow
def test_an_unfinished_working_copy_is_purged_and_others_are_told(
    toys: Path, bucket: Bucket, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{bucket.root}/{place}"
    asked = count(1)
    with pytest.raises(StoppedBetween):
        run(toys, address, stop=lambda: next(asked) > 3)
    copy = working_copy(address)
    assert GONE in people(copy)
    told = purge(GONE, project=toys, items=False)
    assert any(f"{copy}: a working copy" in w and f"--run {address}" in w for w in told.beyond)
    assert GONE in people(copy)
    # The store has lost it: the copy is all there is, and is found by the address.
    for name in bucket.objects(f"{place}/"):
        bucket.delete(name)
    done = purge(GONE, project=toys, runs=[address], items=False)
    proved(done)
    assert [each.path for each in done.removed] == [copy] and GONE not in people(copy)
    # One whose shard is damaged goes whole.
    next((copy / "scores").glob("*.parquet")).write_bytes(b"PAR1")
    done = purge("p2", project=toys, runs=[address], items=False)
    assert done.removed[0].told() == "1 damaged working copy" and not copy.exists()
    with pytest.raises(DataError, match=f"{address}: there is no run in it"):
        purge(GONE, project=toys, runs=[address])


@pytest.mark.slow
def test_many_nights_in_a_store(toys: Path, bucket: Bucket, place: str, machine: Path) -> None:
    nights = f"{bucket.root}/{place}"
    other = toys / "tasks/toys/other.yaml"
    other.write_text((toys / "tasks/toys/like.yaml").read_text())
    given: dict[str, Any] = {"engine": "fake", "project": toys, "size": 30}
    rank_plan([TASK, "toys/other"], f"{nights}/monday", **given)
    run(toys, f"{nights}/tuesday", size=30)
    shutil.rmtree(machine)
    theirs = min(pq.read_table(_fetched(bucket, place, toys)).column("subject_id").to_pylist())
    done = purge(theirs, project=toys, runs=[nights], items=False)
    proved(done)
    paths = [str(each.path) for each in done.removed]
    assert paths == [f"{nights}/monday", f"{nights}/tuesday"]
    assert all("rows of scores" in each.told() for each in done.removed)
    rank_plan([TASK, "toys/other"], f"{nights}/monday", **given)
    assert theirs not in people(working_copy(f"{nights}/monday"))
    bucket.put(f"{place}-files/scores.parquet", b"PAR1")
    with pytest.raises(DataError, match="is one object, and in a store purge takes the folders"):
        purge(theirs, project=toys, runs=[f"{nights}-files/scores.parquet"])


def _fetched(bucket: Bucket, place: str, root: Path) -> Path:
    key = next(k for k in bucket.objects(f"{place}/monday/") if "/scores/" in k)
    (root / "fetched.parquet").write_bytes(bucket.objects(key)[key])
    return root / "fetched.parquet"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_object_is_taken_away_once_or_was_never_there(scheme: str) -> None:
    with bucket_of(scheme) as bucket:
        bucket.put("taken/a/summary.json", b"{}")
        bucket.put("taken/a/summary.json.old", b"{}")
        for _ in range(2):
            take_away(f"{bucket.root}/taken/a/summary.json")
            assert not is_there(f"{bucket.root}/taken/a/summary.json")
        # Nothing else goes, and no object comes that stands for the folder.
        assert list(bucket.objects("taken/")) == ["taken/a/summary.json.old"]


@pytest.mark.slow
def test_a_summary_leaves_the_store_before_a_run_goes_on(
    toys: Path, bucket: Bucket, place: str
) -> None:
    address = f"{bucket.root}/{place}"
    other = toys / "tasks/toys/other.yaml"
    other.write_text((toys / "tasks/toys/like.yaml").read_text())
    given: dict[str, Any] = {"engine": "fake", "project": toys, "size": 30}
    rank_plan([TASK], address, **given)
    assert "summary.json" in there(bucket, place)
    with pytest.raises(StoppedBetween):
        rank_plan([TASK, "toys/other"], address, **given, stop=lambda: True)
    assert "summary.json" not in there(bucket, place)
    rank_plan([TASK, "toys/other"], address, **given)
    assert "summary.json" in there(bucket, place)


@pytest.mark.long
def test_a_folder_of_many_nights_is_purged_as_a_whole(toys: Path) -> None:
    for night in ("monday", "tuesday"):
        run(toys, toys / "nights" / night, size=30)
    command = ["purge", "--run", str(toys / "nights"), "--project", str(toys), "--no-items"]
    nobody = CliRunner().invoke(app, [*command, "--subject", "m17"])
    assert nobody.exit_code == 0, nobody.output
    places = ", ".join(str(toys / "nights" / night) for night in ("monday", "tuesday"))
    assert f"nothing of m17 in {places}\n" in nobody.output
    dry = CliRunner().invoke(app, [*command, "--subject", GONE, "--dry-run"])
    assert dry.exit_code == 0 and dry.output.count(" would go\n") == 2
    (toys / "nights" / "list.jsonl").write_text(f'{{"subject_id": "{GONE}"}}\n')
    done = CliRunner().invoke(app, [*command, "--subject", GONE])
    assert done.output.count(" removed\n") == 2 and done.exit_code == 3
    assert "list.jsonl: left in a line" in done.output  # what is no run is looked at
    assert GONE not in people(toys / "nights")
    with pytest.raises(DataError, match="is no folder of a run, nor of several"):
        purge(GONE, project=toys, runs=[toys / "nights" / "monday" / "shards"])


def test_working_copies_that_were_not_finished_go_after_two_weeks(
    toys: Path, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.runs.stored_runs.paths_below", lambda address: {})
    monkeypatch.setattr("promptrank.runs.stored_runs.check_bucket", lambda address: None)
    ages = {"s3://b/old": 15, "s3://b/new": 13, "s3://b/at-work": 15}
    told: list[str] = []
    for address, days in ages.items():
        shards = working_copy(address) / "shards"
        with stored_run(address, told.append):
            shards.mkdir(parents=True)
        for path in (shards.parent / ".address", shards, shards.parent):
            then = time.time() - days * 86_400
            os.utime(path, (then, then))
    with stored_run("s3://b/at-work", told.append):
        pass
    assert not working_copy("s3://b/old").exists() and working_copy("s3://b/new").exists()
    assert working_copy("s3://b/at-work").exists()
    assert [text.split(" is removed")[0] for text in told] == [
        "the working copy of s3://b/old was unfinished and not used for 14 days, and"
    ]
