"""Runs, requests and scores in an object store: what is there is whole, or is not there."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptrank.api.build import build
from promptrank.api.diff import diff
from promptrank.api.evaluate import evaluate
from promptrank.api.rank import rank
from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.basics.telling import Say
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.places import object_store
from promptrank.runs import stored_runs
from promptrank.runs.run_ends import RunEnds
from promptrank.runs.sharded_run import RunSummary, StoppedBetween
from promptrank.runs.stored_runs import stored_run
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import open_task
from support.stores import BUCKET, SCHEMES, SECRET, Bucket, bucket_of

TASK = "toys/like"
_numbers = count()

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=SCHEMES)
def bucket(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    with bucket_of(request.param) as server:
        yield server


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, as a machine has one."""
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "machine"))
    monkeypatch.delenv("PROMPTRANK_OFFLINE", raising=False)


@pytest.fixture
def place() -> str:
    return f"runs/{next(_numbers)}"


def run(root: Path, folder: str | Path, **more: Any) -> RunSummary:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3} | more
    return rank_run(TASK, folder, **given)


def there(bucket: Bucket, place: str) -> dict[str, bytes]:
    """Objects of a run, but ``run.json``, which has the command."""
    below = bucket.objects(f"{place}/")
    names = {key.removeprefix(f"{place}/"): value for key, value in below.items()}
    return {name: value for name, value in names.items() if name != "run.json"}


def local(folder: Path) -> dict[str, bytes]:
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != "run.json"]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}


def stop_after(shards: int) -> Any:
    asked = count(1)
    return lambda: next(asked) > shards


def test_a_run_in_a_store_is_that_of_a_local_folder(toys: Path, bucket: Bucket, place: str) -> None:
    address = f"{bucket.root}/{place}"
    told: list[str] = []
    ends: RunEnds = {}
    done = run(toys, Path(address), say=told.append, ends=ends)
    assert ends == {Path(place).name: done} and done.folder == Path(address)
    run(toys, toys / "run")
    assert there(bucket, place) == local(toys / "run")
    assert any(address in text for text in told)
    opened = open_task(TASK, project=toys)
    scores = open_scores(opened, address, told.append)
    assert len(scores) == done.counted.scored
    first = f"{address}/scores/000000.parquet"
    assert 0 < len(open_scores(opened, first, told.append)) < len(scores)
    compared = diff(address, toys / "run", out=toys / "diff.json")
    assert compared.differences.same and not compared.changes
    printed = CliRunner().invoke(app, ["diff", address, address]).output
    assert printed.startswith(f"{address} is the same as {address}: ")
    assert f'"then": "{address}"' in (toys / "diff.json").read_text()
    kept = run(toys, toys / "next", since=address, settings=["budget.tokens=199"])
    assert kept.counted.reused == kept.counted.requests
    assert run(toys, address).resumed == done.shards
    whole = b"".join(bucket.objects().values())
    assert SECRET.encode() not in whole and b"key-of-the-test" not in whole


def test_a_stopped_run_goes_on_from_another_machine(
    toys: Path, bucket: Bucket, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, put = f"{bucket.root}/{place}", object_store.put
    with pytest.raises(StoppedBetween):
        run(toys, address, stop=stop_after(2), partition="date")
    names = there(bucket, place)
    assert {n for n in names if n.startswith("shards/")} == {f"shards/00000{i}.json" for i in "01"}
    with pytest.raises(DataError, match=rf"{address}: the run is not finished"):
        open_scores(open_task(TASK, project=toys), address, lambda text: None)
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "another"))
    order: list[str] = []

    def noted(path: Path, name: str) -> None:
        order.append(name.removeprefix(f"{address}/"))
        put(path, name)

    monkeypatch.setattr(stored_runs, "put", noted)
    done = run(toys, address, partition="date")
    assert done.resumed == 2
    run(toys, toys / "unbroken", partition="date")
    assert there(bucket, place) == local(toys / "unbroken")
    # What says that a shard is done comes after its files, and the summary after everything.
    assert order[-1] == "summary.json" and not any("00000" + i in n for n in order for i in "01")
    for name in (name for name in order if name.startswith("shards/")):
        number = Path(name).stem
        files = {n for n in order if Path(n).stem == number and n != name}
        assert len(files) >= 3 and files <= set(order[: order.index(name)])


def test_a_store_that_takes_no_more_ends_the_run_and_it_goes_on(
    toys: Path, bucket: Bucket, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, put = f"{bucket.root}/{place}", object_store.put
    left = count(5, -1)

    def tired(path: Path, name: str) -> None:
        if next(left) <= 0:
            raise DataError(f"{name}: cannot be reached")
        put(path, name)

    with monkeypatch.context() as patch:
        patch.setattr(stored_runs, "put", tired)
        with pytest.raises(DataError, match="cannot be reached"):
            run(toys, address)
    names = there(bucket, place)
    assert "summary.json" not in names and "shards/000000.json" in names
    assert "shards/000001.json" not in names
    # The working copy may know more than the store; what it knows is put, and not scored again.
    done = run(toys, address)
    assert done.resumed >= 1
    run(toys, toys / "unbroken")
    assert there(bucket, place) == local(toys / "unbroken")
    # Damage in the store is told, and mended by the same command: by what the working copy has,
    whole = there(bucket, place)
    bucket.delete(f"{place}/scores/000000.parquet")
    bucket.put(f"{place}/scores/000001.parquet", b"PAR1")
    prompts = whole["prompts/000002.parquet"]
    bucket.put(f"{place}/prompts/000002.parquet", prompts[:-9] + b"x" + prompts[-8:])
    told: list[str] = []
    assert run(toys, address, say=told.append).resumed == done.shards
    assert there(bucket, place) == whole
    assert any(f"{address}: 3 objects gone or not what was written" in text for text in told)
    # or by ranking again what it has not.
    bucket.put(f"{place}/scores/000001.parquet", b"PAR1")
    with pytest.raises(DataError, match=rf"{address}/scores/000001.parquet is not what was writt"):
        open_scores(open_task(TASK, project=toys), address, lambda text: None)
    shutil.rmtree(toys.parent / "machine")
    assert run(toys, address).resumed == done.shards - 1
    assert there(bucket, place) == local(toys / "unbroken")


def test_a_place_is_of_one_run(toys: Path, bucket: Bucket, place: str) -> None:
    address = f"{bucket.root}/{place}"
    bucket.put(f"{place}-letters/dear.txt", b"Dear")
    with pytest.raises(InputError, match=r"holds something else, such as dear.txt; name another"):
        run(toys, f"{address}-letters")
    run(toys, address)
    before = bucket.objects(f"{place}/")
    with pytest.raises(InputError, match=rf"^{address}: holds a run with --shard 3 \(now 4\)"):
        run(toys, address, size=4)
    with pytest.raises(InputError, match=r"with a password or key in it"):
        run(toys, f"s3://key:{SECRET}@{BUCKET}/x")
    nowhere = f"{bucket.root}-that-is-not-there/x"
    with pytest.raises(DataError, match=rf"{nowhere}: there is no bucket {BUCKET}-that-is-not"):
        run(toys, nowhere)
    with stored_run(address), pytest.raises(InputError, match=r"writes|written"):
        run(toys, address)
    assert bucket.objects(f"{place}/") == before
    # Removed from the store, a run is gone, whatever a working copy has.
    for key in before:
        bucket.delete(key)
    assert run(toys, address, size=4).resumed == 0


def test_of_two_that_begin_at_once_the_first_is_right(
    toys: Path, bucket: Bucket, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{bucket.root}/{place}"
    begin = stored_runs.StoredRun.begin

    def late(stored: stored_runs.StoredRun, say: Say) -> None:
        begin(stored, say)
        with monkeypatch.context() as other:
            other.setattr(stored_runs.StoredRun, "begin", begin)
            other.setenv("PROMPTRANK_CACHE", str(toys / "another"))
            run(toys, address, size=4)

    monkeypatch.setattr(stored_runs.StoredRun, "begin", late)
    with pytest.raises(DataError, match=r"run.json: another run began there meanwhile"):
        run(toys, address)
    run(toys, toys / "first", size=4)
    assert there(bucket, place) == local(toys / "first")


def test_requests_come_from_a_store(toys: Path, bucket: Bucket, place: str) -> None:
    build(TASK, toys / "requests.parquet", project=toys)
    address = f"{bucket.root}/{place}/requests.parquet"
    for path in toys.glob("requests.*"):
        bucket.put(f"{place}/{path.name}", path.read_bytes())
    run(toys, toys / "from-store", requests=address)
    rank(TASK, toys / "one.parquet", requests=address, engine="fake", project=toys)
    report = evaluate(TASK, scores=toys / "one.parquet", requests=address, project=toys)
    bucket.put(f"{place}/one.parquet", (toys / "one.parquet").read_bytes())
    scores = f"{bucket.root}/{place}/one.parquet"
    out = toys / "report.json"
    again = evaluate(TASK, scores=scores, requests=address, project=toys, out=out)
    assert again.rankers[0].cells == report.rankers[0].cells
    run(toys, toys / "from-file", requests=toys / "requests.parquet")
    assert local(toys / "from-store") == local(toys / "from-file")
    # Another content under the same name is another run.
    build(TASK, toys / "requests.parquet", project=toys, settings=["history.last=1"])
    bucket.put(f"{place}/requests.parquet", (toys / "requests.parquet").read_bytes())
    bucket.delete(f"{place}/requests.config.json")
    with pytest.raises(InputError, match=r"holds a run with .*request file"):
        run(toys, toys / "from-store", requests=address)
    with pytest.raises(
        DataError, match=rf"{bucket.root}/.*none.parquet: there is no such object, and none"
    ):
        run(toys, toys / "none", requests=f"{bucket.root}/{place}/none.parquet")


def test_several_runs_go_to_one_place(toys: Path, bucket: Bucket, place: str) -> None:
    given: dict[str, Any] = {"engine": "fake", "project": toys, "size": 9}
    other = toys / "tasks/toys/other.yaml"
    other.write_text((toys / "tasks/toys/like.yaml").read_text())
    address = f"{bucket.root}/{place}"
    done = rank_plan([TASK, "toys/other"], address, **given)
    rank_plan([TASK, "toys/other"], toys / "both", **given)
    assert len(done) == 2
    ours, theirs = there(bucket, place), local(toys / "both")
    assert ours.keys() == theirs.keys() | {k for k in ours if k.endswith("run.json")}
    assert all(ours[name] == theirs[name] for name in theirs if name.endswith(".parquet"))
