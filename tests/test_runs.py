"""Runs: folders of shards, which a killed run goes on with, and which lose and invent nothing."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptrank.api.build import build
from promptrank.api.rank import rank
from promptrank.api.rank_run import rank_run
from promptrank.basics.owner import owned
from promptrank.engine.contract import Failure, Steps, Tree
from promptrank.engine.fake import FakeEngine
from promptrank.errors import DataError, InputError
from promptrank.runs import shards
from promptrank.runs.read_run import read_run
from promptrank.runs.sharded_run import RunSummary, StoppedBetween
from promptrank.scores.read import read_scores
from promptrank.workspace.tasks import open_task

TASK = "toys/like"
TEMPLATE = "templates/toys/like.j2"


def run(root: Path, folder: str = "run", **more: Any) -> RunSummary:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3} | more
    return rank_run(TASK, root / folder, **given)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run but what only tells of its start, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def requests_of(root: Path) -> Path:
    build(TASK, root / "requests.parquet", project=root)
    return root / "requests.parquet"


def table_of(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("scores/*.parquet")))


@pytest.mark.long
def test_a_run_has_the_rows_of_a_scores_file(toys: Path) -> None:
    file = rank(TASK, toys / "whole.parquet", engine="fake", project=toys).path
    done = run(toys)
    assert done.shards > 2
    task = open_task(TASK, project=toys).task
    one, other = read_scores(file, task, TASK), read_run(toys / "run", task, TASK)
    key = [("request_id", "ascending"), ("candidate_id", "ascending")]
    assert other.table.sort_by(key).equals(one.table.sort_by(key))
    assert other.origin.prompt == one.origin.prompt
    assert done.counted.scored == len(one)
    assert done.counted.candidates == done.counted.scored + done.counted.set_aside


@pytest.mark.long
def test_a_stopped_run_goes_on_and_writes_nothing_again(toys: Path) -> None:
    run(toys, "unbroken")
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    with pytest.raises(StoppedBetween):
        run(toys, stop=stop)
    first = {path: path.stat().st_mtime_ns for path in (toys / "run").rglob("0*")}
    assert len(shards.numbers(toys / "run")) == 2
    assert not (toys / "run" / "summary.json").exists()
    with pytest.raises(DataError, match="not finished; the command that made it goes on"):
        read_run(toys / "run", open_task(TASK, project=toys).task, TASK)
    done = run(toys)
    assert done.resumed == 2
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert files(toys / "run") == files(toys / "unbroken")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["scores", "errors", "prompts", "shards"])
def test_a_damaged_shard_is_told_and_scored_again(toys: Path, kind: str) -> None:
    run(toys)
    written = files(toys / "run")
    path = next((toys / "run" / kind).glob("000001.*"))
    if kind == "errors":  # it is empty
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"000001|is not there|cannot be read|no such"):
        read_run(toys / "run", open_task(TASK, project=toys).task, TASK)
    done = run(toys)
    assert done.resumed == done.shards - 1
    assert files(toys / "run") == written


@pytest.mark.parametrize("verb", [rank, rank_run])
def test_what_to_rank_is_checked_before_a_model_is_opened(toys: Path, verb: Any) -> None:
    nowhere = {"engine": "packed", "model": str(toys / "nowhere"), "project": toys}
    with pytest.raises(DataError, match="no request file"):
        verb(TASK, toys / "x.jsonl", requests=toys / "none.parquet", **nowhere)
    (toys / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cut.parquet: not a parquet file"):
        verb(TASK, toys / "x.jsonl", requests=toys / "cut.parquet", **nowhere)
    with pytest.raises(InputError, match="no part 'tset'"):
        verb(TASK, toys / "x.jsonl", splits={"tset"}, **nowhere)
    with pytest.raises(InputError, match="nowhere"):
        verb(TASK, toys / "x.jsonl", **nowhere)
    assert not (toys / "x.jsonl").exists()


@pytest.mark.long
def test_a_folder_is_of_one_run(toys: Path) -> None:
    run(toys)
    before = files(toys / "run")
    template = toys / TEMPLATE
    template.write_text(template.read_text().replace("Toy", "Plaything"))
    with pytest.raises(InputError, match=r"holds a run with another template, .*--since"):
        run(toys)
    with pytest.raises(InputError, match=r"a run with --shard 3 \(now 4\); name"):
        template.write_text(template.read_text().replace("Plaything", "Toy"))
        run(toys, size=4)
    assert files(toys / "run") == before
    with pytest.raises(InputError, match=r"--since .*nope: is no folder of a run"):
        run(toys, "new", since=toys / "nope")
    (toys / "other").mkdir()
    (toys / "other" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="a folder of something else"):
        run(toys, "other")


@pytest.mark.long
def test_a_folder_without_a_finished_shard_is_the_next_command_s(toys: Path) -> None:
    (toys / "odd.csv").write_text("a\n")
    with pytest.raises(DataError, match=r"ends in \.parquet or \.jsonl"):
        run(toys, requests=toys / "odd.csv")
    assert not (toys / "run" / "run.json").exists()
    broken = toys / "broken.jsonl"
    broken.write_text('{"request_id": 1, "item_id": "a" "x"}\n')
    told = r"no request to rank in broken.jsonl; 1 row could not .*broken.jsonl:1: "
    with pytest.raises(DataError, match=told):
        run(toys, requests=broken)
    with pytest.raises(StoppedBetween):
        run(toys, stop=lambda: True)
    done = run(toys, size=4)
    assert files(toys / "run") == files(run(toys, "other", size=4).folder)
    assert done.resumed == 0


@pytest.mark.long
def test_two_cannot_write_one_run(toys: Path) -> None:
    with owned(toys / "run", "rank"), pytest.raises(InputError, match="run"):
        run(toys)
    assert not (toys / "run").exists()
    run(toys)


@pytest.mark.long
def test_since_scores_only_what_changed(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = requests_of(toys)
    old = run(toys, "old", requests=requests)
    table = pq.read_table(requests)
    names = list(dict.fromkeys(table.column("request_id").to_pylist()))
    changed = names[4]
    rows = table.to_pylist()
    for row in rows:
        row["time"] = row["time"] + 5 if row["time"] is not None else None
        if row["request_id"] == changed and row["member"] is not None:
            row["member"] = row["member"] | {"name": "Somebody else"}
    items = (requests.with_name("requests.items.arrow"), toys / "later.items.arrow")
    shutil.copy(*items)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), toys / "later.parquet")
    asked: list[str] = []
    begin = FakeEngine.begin

    def noted(self: FakeEngine, trees: list[Tree]) -> Steps:
        asked.extend(tree.tree_id for tree in trees)
        return begin(self, trees)

    fresh = run(toys, "fresh", requests=toys / "later.parquet")
    monkeypatch.setattr(FakeEngine, "begin", noted)
    done = run(toys, "new", requests=toys / "later.parquet", since=toys / "old")
    assert asked == [changed]
    assert done.counted.reused == old.counted.requests - 1
    assert table_of(toys / "new").equals(table_of(toys / "fresh"))
    assert fresh.counted.scored == done.counted.scored


@pytest.mark.long
def test_since_takes_nothing_from_another_ranker(toys: Path) -> None:
    run(toys, "old")
    said: list[str] = []
    done = run(
        toys,
        "new",
        since=toys / "old",
        settings=["questions.like.answers.like.value=0.7"],
        say=said.append,
    )
    assert done.counted.reused == 0
    assert any("nothing of" in line and "another question" in line for line in said)


def written(root: Path, name: str, items: dict[str, dict[str, Any]], **more: Any) -> Path:
    """A request file of one request: candidate -> fields of its item."""
    shared = {"request_id": "r1", "member_id": "m", "member": {"name": "Ann"}} | more
    rows = [
        shared | {"candidate_id": c, "item_id": f"i{c}", "item": {"color": "red"} | item}
        for c, item in items.items()
    ]
    (root / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root / name


def placed(folder: Path) -> list[tuple[str, str, str, int | None]]:
    names = ("subject_id", "candidate_id", "item_id", "rank")
    columns = [table_of(folder).column(name).to_pylist() for name in names]
    return list(zip(*columns, strict=True))


@pytest.mark.long
def test_equal_words_of_somebody_else_are_somebody_elses(toys: Path) -> None:
    ball, car = {"title": "Ball"}, {"title": "Car"}
    run(toys, "old", requests=written(toys, "old.jsonl", {"a": ball, "b": car}))
    renamed = written(toys, "new.jsonl", {"c": ball, "d": car})
    done = run(toys, "new", requests=renamed, since=toys / "old")
    assert done.counted.reused == 0
    assert {row[1] for row in placed(toys / "new")} == {"c", "d"}
    other = written(toys, "other.jsonl", {"a": ball, "b": car}, member_id="m2")
    assert run(toys, "other", requests=other, since=toys / "old").counted.reused == 0
    assert {row[0] for row in placed(toys / "other")} == {"m2"}


@pytest.mark.long
def test_what_steps_go_by_is_compared_as_well_as_prompts(toys: Path) -> None:
    task = toys / "tasks/toys/like.yaml"
    task.write_text(task.read_text() + "steps: [{boost: {where: item.stock > 0, add: 100}}]\n")
    ball, car = {"title": "Ball", "stock": 1}, {"title": "Car", "stock": 0}
    run(toys, "old", requests=written(toys, "old.jsonl", {"a": ball, "b": car}))
    swapped = written(toys, "new.jsonl", {"a": ball | {"stock": 0}, "b": car | {"stock": 1}})
    done = run(toys, "new", requests=swapped, since=toys / "old")
    assert done.counted.reused == 0
    assert {row[1]: row[3] for row in placed(toys / "new")} == {"a": 2, "b": 1}


@pytest.mark.long
def test_what_steps_take_out_is_neither_scored_nor_lost(toys: Path) -> None:
    task = toys / "tasks/toys/like.yaml"
    task.write_text(task.read_text() + "steps: [{filter: {keep: item.stock > 0}}]\n")
    items = {"a": {"title": "Ball", "stock": 1}, "b": {"title": "Car", "stock": 0}}
    requests = written(toys, "requests.jsonl", items)
    counted = run(toys, requests=requests).counted
    assert (counted.scored, counted.removed, counted.set_aside, counted.errors) == (1, 1, 0, 0)
    again = run(toys, "again", requests=requests, since=toys / "run").counted
    assert (again.reused, again.scored, again.removed) == (1, 1, 1)
    assert counted.label_mass == again.label_mass == {"like": pytest.approx(1.5)}
    assert table_of(toys / "again").equals(table_of(toys / "run"))


@pytest.mark.long
def test_what_the_engine_does_not_score_is_accounted_for(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = FakeEngine.begin

    def odd(tree: Tree) -> bool:
        return hashlib.md5(tree.tree_id.encode()).digest()[0] % 2 == 1

    def faulty(self: FakeEngine, trees: list[Tree]) -> Steps:
        for ready in begin(self, trees):
            yield [
                (place, Failure("too_long", "by 3 tokens") if odd(trees[place]) else score)
                for place, score in ready
            ]

    monkeypatch.setattr(FakeEngine, "begin", faulty)
    done = run(toys, size=4)
    counted = done.counted
    assert counted.set_aside > 0
    assert counted.candidates == counted.scored + counted.set_aside
    errors = [
        json.loads(line)
        for path in (toys / "run").glob("errors/*")
        for line in path.read_text().splitlines()
    ]
    assert len(errors) == counted.errors
    scored = set(table_of(toys / "run").column("request_id").to_pylist())
    assert scored.isdisjoint(row["request_id"] for row in errors)
    # What went wrong is tried again by a later run.
    monkeypatch.undo()
    again = run(toys, "again", size=4, since=toys / "run")
    assert again.counted.set_aside == 0
    assert again.counted.reused == len(scored)


@pytest.mark.long
def test_a_request_file_that_changes_meanwhile_is_told(toys: Path) -> None:
    requests = requests_of(toys)

    def change(done: int, total: int | None) -> None:
        if done == total:
            with requests.open("ab") as file:
                file.write(b" ")

    with pytest.raises(DataError, match=r"requests\.parquet: changed while it was ranked.*--since"):
        run(toys, requests=requests, progress=change)
    assert not (toys / "run" / "summary.json").exists()


@pytest.mark.long
def test_datasets_opens_a_run(toys: Path) -> None:
    from datasets import load_dataset

    done = run(toys)
    scores = load_dataset(
        "parquet",
        data_files=str(toys / "run" / "scores" / "*.parquet"),
        split="train",
        cache_dir=str(toys / "cache"),
    )
    assert len(scores) == done.counted.scored


def command(root: Path, folder: str) -> list[str]:
    words = ["rank", TASK, "--engine", "fake", "--project", str(root), "--shard", "1"]
    words += ["--requests", str(root / "requests.parquet"), "--run", str(root / folder)]
    return [sys.executable, "-m", "promptrank", *words]


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(toys: Path) -> None:
    requests_of(toys)
    subprocess.run(command(toys, "unbroken"), check=True, capture_output=True)
    count = len(shards.numbers(toys / "unbroken"))
    draw, kills = random.Random(5), 0
    for number in range(20):
        folder = toys / f"run{number % 4}"
        process = subprocess.Popen(command(toys, folder.name), stderr=subprocess.DEVNULL)
        there = len(shards.numbers(folder)) if folder.exists() else 0
        wanted = draw.randint(there, count)
        while process.poll() is None and (
            not folder.exists() or len(shards.numbers(folder)) < wanted
        ):
            time.sleep(0.001)
        time.sleep(draw.random() * 0.004)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills >= 10, "too few kills came in time"
    for number in range(4):
        folder = toys / f"run{number}"
        subprocess.run(command(toys, folder.name), check=True, capture_output=True)
        assert files(folder) == files(toys / "unbroken")
        assert not list(folder.rglob("*.part"))


@pytest.mark.slow
def test_ctrl_c_finishes_the_shard_in_hand(toys: Path) -> None:
    one = written(toys, "one.jsonl", {"a": {"title": "Ball"}, "b": {"title": "Car"}}).read_text()
    many = (one.replace('"r1"', f'"r{number}"') for number in range(1000))
    (toys / "requests.jsonl").write_text("".join(many))
    words = command(toys, "run")
    words[words.index(str(toys / "requests.parquet"))] = str(toys / "requests.jsonl")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (toys / "run" / "shards").exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "finishing the shard in hand" in said
    assert "the same command goes on with it" in said
    assert not list((toys / "run").rglob("*.part"))
    assert 0 < len(shards.numbers(toys / "run")) < 1000
    subprocess.run(words, check=True, capture_output=True)
    assert len(shards.numbers(toys / "run")) == 1000
