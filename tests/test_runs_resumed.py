"""A run that goes on: what is before its place is not read, and what comes is what would have."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from promptrank.api.diff import diff
from promptrank.api.rank import rank
from promptrank.api.rank_run import rank_run
from promptrank.engine.fake import FakeEngine
from promptrank.errors import DataError, ErrorRow, InputError
from promptrank.requests import row_parts
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs import scored_file, shards
from promptrank.runs.read_run import read_run
from promptrank.runs.request_blocks import Before, RequestBlock, request_blocks
from promptrank.runs.sharded_run import RunSummary, StoppedBetween
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task
from support.data import make_task

TASK = "toys/like"


def lines(rng: random.Random, count: int) -> list[bytes]:
    """Rows of requests with duplicates, torn lines, rows of nobody, and requests of many rows."""
    rows: list[bytes] = []
    names = [f"r{number}" for number in range(count)]
    for place, name in enumerate(names):
        if rng.random() < 0.1 and place:
            name = rng.choice(names[:place])  # it stood before
        split = rng.choice(["test", "test", "train"])
        for candidate in range(rng.choice([1, 2, 3, 20])):
            row: dict[str, Any] = {"request_id": name, "item_id": f"i{candidate}", "item": {"n": 1}}
            if not candidate:
                row |= {"member": {"name": "Ann"}, "split": split, "time": place}
            if rng.random() < 0.05:
                del row["request_id"]
            line = json.dumps(row).encode()
            rows.append(line if rng.random() > 0.05 else line[: rng.randint(5, len(line) - 2)])
    return [line + b"\n" for line in rows]


def as_lines(path: Path, given: list[bytes]) -> Path:
    path.with_suffix(".jsonl").write_bytes(b"".join(given))
    return path.with_suffix(".jsonl")


def as_table(path: Path, given: list[bytes]) -> Path:
    whole = []
    for line in given:
        with suppress(ValueError):  # a torn one
            whole.append(json.loads(line))
    schema = pa.schema(
        [
            ("request_id", pa.string()),
            ("item_id", pa.string()),
            ("item", pa.struct([("n", pa.int64())])),
            ("member", pa.struct([("name", pa.string())])),
            ("split", pa.string()),
            ("time", pa.float64()),
        ]
    )
    table = pa.Table.from_pylist(whole, schema=schema)
    pq.write_table(table, path.with_suffix(".parquet"), row_group_size=23)
    return path.with_suffix(".parquet")


def told(blocks: list[RequestBlock]) -> list[tuple[Any, ...]]:
    return [(b.number, b.requests, b.unread, b.end, b.ids.tolist()) for b in blocks]


@pytest.mark.long
@pytest.mark.parametrize("write", [as_lines, as_table])
def test_whoever_goes_on_reads_what_an_unbroken_reader_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, list[bytes]], Path]
) -> None:
    monkeypatch.setattr(row_parts, "_ROWS", 7)
    unread = again = 0
    for seed in range(5):
        rng = random.Random(seed)
        path = write(tmp_path / f"r{seed}", lines(rng, 25))
        file, size = RequestFile(path, make_task()), rng.choice([1, 2, 5])
        splits = rng.choice([None, {"test"}])
        ids = set(rng.sample(file.ids(splits), 10)) if rng.random() < 0.3 else None
        whole = list(request_blocks(file, splits, ids, size))
        for count in range(1, len(whole) + 1):
            if len(whole[count - 1].requests) < size:
                continue  # that was the last
            before = Before(count, whole[count - 1].end, [b.ids for b in whole[:count]])
            file.decoded = 0
            on = list(request_blocks(file, splits, ids, size, before))
            assert told(on) == told(whole[count:]), (seed, count)
        unread += sum(len(b.unread) for b in whole)
        again += sum(row.reason == "scattered" for b in whole for row in b.unread)
    assert unread > 20 and again > 2


def run(root: Path, folder: str = "run", **more: Any) -> RunSummary:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3} | more
    return rank_run(TASK, root / folder, **given)


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def damaged_requests(root: Path) -> Path:
    """Thirty requests, three of them twice, torn lines, and one whose candidates are all lost."""
    rows = []
    for number in [*range(20), 3, 19, *range(20, 30), 3]:
        head: dict[str, Any] = {"request_id": f"r{number}", "member": {"name": "Ann"}}
        head["time"] = 86_400.0 * (number // 8) + number if number != 5 else None
        for candidate in ("a", "b"):
            item = {
                "candidate_id": candidate,
                "item_id": candidate,
                "item": {"title": candidate, "color": "red"},
            }
            rows.append(json.dumps(head | item if number != 11 else head | {"item_id": None}))
            head = {"request_id": f"r{number}"}
    rows[31] = rows[31][:20]
    rows[0] = "[]"
    (root / "requests.jsonl").write_text("".join(row + "\n" for row in rows))
    return root / "requests.jsonl"


def stopped_after(count: int) -> Callable[[], bool]:
    asked = iter(range(count))
    return lambda: next(asked, None) is None


@pytest.mark.long
def test_a_resumed_run_does_not_read_what_is_done(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_parts, "_ROWS", 8)
    requests = damaged_requests(toys)
    whole = run(toys, "whole", requests=requests)
    assert whole.counted.unread > 6 and whole.counted.scored > 50
    decoded = 0
    read = RequestFile.read

    def counted(self: RequestFile, *given: Any, **more: Any) -> Any:
        nonlocal decoded
        yield from read(self, *given, **more)
        decoded += self.decoded

    monkeypatch.setattr(RequestFile, "read", counted)
    for count in (1, 4, 8):
        with pytest.raises(StoppedBetween):
            run(toys, f"run{count}", requests=requests, stop=stopped_after(count))
        decoded = 0
        done = run(toys, f"run{count}", requests=requests)
        assert done.resumed == count
        # Of what is done, only rows of the part in which it ends are read again.
        assert decoded <= whole.counted.requests - 3 * count + 4
        assert files(toys / f"run{count}") == files(toys / "whole")
    decoded = 0
    assert run(toys, "whole", requests=requests).resumed == whole.shards
    assert decoded == 0


@pytest.mark.long
def test_gaps_are_scored_again_and_nothing_else(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = damaged_requests(toys)
    whole = run(toys, requests=requests)
    written = files(toys / "run")
    for number in (2, 3, 6):
        shards.facts_path(toys / "run", number).unlink()
    shards.ids_path(toys / "run", 0).write_bytes(b"nothing")
    (toys / "run" / "summary.json").unlink()
    asked: list[str] = []
    begin = FakeEngine.begin

    def noted(self: FakeEngine, trees: Any) -> Any:
        asked.extend(tree.tree_id for tree in trees)
        return begin(self, trees)

    monkeypatch.setattr(FakeEngine, "begin", noted)
    said: list[str] = []
    done = run(toys, requests=requests, say=said.append)
    assert (done.resumed, done.counted) == (whole.shards - 4, whole.counted)
    assert len(asked) == 11  # r0 has lost the row that says whose it is
    assert files(toys / "run") == written
    assert "shard 0 of run is damaged: it is scored again" in said


@pytest.mark.long
@pytest.mark.parametrize("ending", ["parquet", pytest.param("jsonl", marks=pytest.mark.slow)])
def test_a_file_is_made_of_shards_and_goes_on_from_them(
    toys: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(scored_file, "FILE_SHARD", 2)
    requests = damaged_requests(toys)
    given: dict[str, Any] = {"engine": "fake", "project": toys, "requests": requests}
    for name in ("whole", "broken"):
        (toys / name).mkdir()
    whole = rank(TASK, toys / "whole" / f"s.{ending}", **given)
    out = toys / "broken" / f"s.{ending}"
    for count in (3, 2):
        with pytest.raises(StoppedBetween):
            rank(TASK, out, **given, stop=stopped_after(count))
        assert [path.name for path in out.parent.iterdir()] == [f"{out.name}.partial"]
    said: list[str] = []
    ranked = rank(TASK, out, **given, say=said.append)
    assert (ranked.resumed, ranked.requests) == (10, whole.requests)
    assert "resuming: 10 requests were already ranked" in said
    for name in (out.name, "s.errors.jsonl"):
        assert (out.parent / name).read_bytes() == (toys / "whole" / name).read_bytes()
    errors = (out.parent / "s.errors.jsonl").read_text().splitlines()
    assert len(errors) == ranked.errors > 6
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "s.config.json",
        "s.errors.jsonl",
        f"s.{ending}",
    ]


@pytest.mark.long
def test_rows_behind_a_sample_s_last_request_are_kept_by_whoever_goes_on(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: Any) -> None:
        raise StoppedBetween

    def ranked(name: str) -> int:
        given = replace(sample.file, set_aside=(ErrorRow(None, None, "data", "x", "of nobody"),))
        with open_ranker(open_task(TASK, project=toys), engine="fake") as ranker:
            return scored_file.score_into(toys / name, ranker, Sample(given), {}).errors

    sample = Sample(given_file(open_task(TASK, project=toys), damaged_requests(toys)))
    unbroken = ranked("unbroken.parquet")
    with monkeypatch.context() as patch, suppress(StoppedBetween):
        patch.setattr(scored_file, "_join", stopped)
        ranked("resumed.parquet")
    assert ranked("resumed.parquet") == unbroken


@pytest.mark.long
def test_what_stands_where_the_shards_go(toys: Path) -> None:
    given: dict[str, Any] = {"engine": "fake", "project": toys}
    place = toys / "s.parquet.partial"
    place.write_bytes(b"a journal, as versions before wrote it")
    said: list[str] = []
    rank(TASK, toys / "s.parquet", **given, say=said.append)
    assert any(line.endswith("starting over") for line in said)
    assert not place.exists()
    place.mkdir()
    (place / "letter.txt").write_text("dear")
    (place / "scores").mkdir()
    with pytest.raises(InputError, match="a folder of something else"):
        rank(TASK, toys / "s.parquet", **given)
    assert len(list(place.iterdir())) == 2
    (toys / "none.jsonl").write_text("")
    with pytest.raises(DataError, match=r"no request to rank in none\.jsonl"):
        rank(TASK, toys / "n.parquet", **given, requests=toys / "none.jsonl")
    assert not (toys / "n.parquet.partial").exists()


def dataset(folder: Path, root: Path) -> Any:
    from datasets import load_dataset

    given = f"{folder}/scores/**/*.parquet"
    return load_dataset("parquet", data_files=given, split="train", cache_dir=str(root / "cache"))


@pytest.mark.slow
def test_a_run_by_date_is_read_as_one_that_is_not(toys: Path) -> None:
    requests = damaged_requests(toys)
    run(toys, "plain", requests=requests)
    done = run(toys, "dated", requests=requests, partition="date")
    days = [f"1970-01-0{day}" for day in (1, 2, 3, 4)]
    names = [f"date={day}" for day in [*days, "__HIVE_DEFAULT_PARTITION__"]]
    assert sorted(path.name for path in (toys / "dated" / "scores").iterdir()) == names
    undated = pq.read_table(toys / "dated" / "scores" / names[-1], partitioning=None)
    assert set(undated.column("request_id").to_pylist()) == {"r5"}
    task = open_task(TASK, project=toys).task
    key = [("request_id", "ascending"), ("candidate_id", "ascending")]
    plain, dated = (read_run(toys / name, task, TASK).table for name in ("plain", "dated"))
    assert dated.sort_by(key).equals(plain.sort_by(key))
    assert diff(toys / "plain", toys / "dated").differences.same
    hive = pq.read_table(toys / "dated" / "scores")
    of_day = hive.filter(pc.equal(pc.cast(hive.column("date"), pa.string()), days[1]))
    assert set(of_day.column("request_id").to_pylist()) == {f"r{n}" for n in range(8, 16)} - {"r11"}
    # One line opens either.
    for folder in ("plain", "dated"):
        assert len(dataset(toys / folder, toys)) == done.counted.scored
    with pytest.raises(InputError, match=r"a run with --partition date \(now none\)"):
        run(toys, "dated", requests=requests)
    with pytest.raises(InputError, match="--partition week"):
        run(toys, "weekly", requests=requests, partition="week")
    taken_over = run(toys, "next", requests=requests, since=toys / "dated")
    assert taken_over.counted.reused > 20
    # A damaged shard leaves nothing behind in the folder of a day that it has no more.
    written = files(toys / "dated")
    shards.facts_path(toys / "dated", 1).unlink()
    stale = toys / "dated" / "scores" / "date=1970-01-04" / "000001.parquet"
    stale.write_bytes(b"of an earlier attempt")
    run(toys, "dated", requests=requests, partition="date")
    assert files(toys / "dated") == written
