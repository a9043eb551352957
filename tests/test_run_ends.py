"""What programs are told of runs that finish, and of those that do not."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from promptrank.api.build import build
from promptrank.api.rank import rank
from promptrank.api.rank_run import rank_run
from promptrank.cli import rank as verb
from promptrank.cli.endings import ending
from promptrank.cli.main import app
from promptrank.cli.run_words import say_run
from promptrank.engine.fake import FakeEngine
from promptrank.errors import DataError
from promptrank.requests.write import TableWriter
from promptrank.runs.error_texts import error_words
from promptrank.runs.nothing_scored import NothingScored, nothing_scored
from promptrank.runs.run_identity import RunIdentity
from promptrank.runs.run_reports import TOTALS, RunReport, metrics_text
from promptrank.runs.sharded_run import RunSummary, StoppedBetween
from promptrank.runs.shards import NOTHING
from promptrank.runs.throughput import Throughput
from promptrank.scores.origin import Origin
from support.pages import DOCS
from support.toys import make_project

ADDED = ("scored", "removed", "set_aside", "purged")
RED = {"color": "red"}
SUM = re.compile(r"(?P<candidates>[\d,]+) candidates of (?P<requests>[\d,]+) requests = (.*) -> ")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    toys = make_project(tmp_path_factory.mktemp("ends") / "toys", tiny_llama_path)
    build("toys/like", toys / "requests.parquet", project=toys)
    (toys / "empty.jsonl").write_text("")
    late = {
        "request_id": "1",
        "time": "yesterday",
        "item_id": "i",
        "item": {"title": "Ball", **RED},
    }
    (toys / "late.jsonl").write_text(f"{json.dumps(late)}\n" * 2)
    return toys


def invoke(root: Path, out: Path, *words: str | Path) -> Any:
    more: list[str | Path] = ["--project", root, "--engine", "fake"]
    more += ["--requests", root / "requests.parquet"]
    more += ["--summary", out / "night.json", "--metrics", out / "night.prom"]
    return CliRunner().invoke(app, ["rank", *map(str, (*words, *more))])


def plan(out: Path, *runs: str) -> Path:
    path = out / "night.yaml"
    path.write_text("runs:\n" + "".join(f"  - {{task: toys/like, {run}}}\n" for run in runs))
    return path


def told(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "night.json").read_text()))


def metric(out: Path, name: str) -> dict[str, float]:
    families = text_string_to_metric_families((out / "night.prom").read_text())
    samples = [sample for family in families for sample in family.samples]
    return {s.labels["run"]: s.value for s in samples if s.name == f"promptrank_run_{name}"}


@pytest.mark.long
def test_a_run_that_fails_is_in_the_summary_and_in_the_metrics(made: Path, tmp_path: Path) -> None:
    files = [made / "empty.jsonl", made / "late.jsonl"]
    bad = [f"name: {n}, requests: {file}" for n, file in zip("bd", files, strict=True)]
    runs = ("name: a", bad[0], "name: c, limit: 3", bad[1])
    ran = invoke(made, tmp_path, "--plan", plan(tmp_path, *runs), "--run", tmp_path / "runs")
    assert isinstance(ran.exception, DataError) and ending(ran.exception).code == 2
    a, b, c, d = told(tmp_path)["runs"]
    assert (a["error"], b["finished"]) == (None, None)
    assert b["error"] == "no request to rank in empty.jsonl" and "scored" not in b
    assert (b["engine"], b["model"], b["task"]) == (a["engine"], a["model"], "toys/like")
    assert "all 2 rows of it were set aside, most often for bad_row (1 of 1 error row" in d["error"]
    assert len((tmp_path / "runs/d/errors/000000.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "runs/d/summary.json").exists()
    assert told(tmp_path)["failed"] == 2
    assert told(tmp_path)["scored"] == a["scored"] + c["scored"] > 0
    assert metric(tmp_path, "failed") == {"a": 0, "b": 1, "c": 0, "d": 1}
    assert set(metric(tmp_path, "finished_timestamp_seconds")) == {"a", "c"}
    # What finished is said, though the command fails.
    assert len(SUM.findall(ran.stderr)) == 2


@pytest.mark.long
def test_a_full_disk_ends_the_plan_and_says_so(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = TableWriter.write_table

    def full(self: TableWriter, table: Any) -> None:
        if "runs/b" in str(self.path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        write(self, table)

    monkeypatch.setattr(TableWriter, "write_table", full)
    names = ("name: a", "name: b", "name: c")
    ran = invoke(made, tmp_path, "--plan", plan(tmp_path, *names), "--run", tmp_path / "runs")
    assert ran.exception is not None and ending(ran.exception).code == 75
    a, b, c = told(tmp_path)["runs"]
    assert a["finished"] and "No space left on device" in b["error"]
    assert c["error"] == "not begun, as the command ended before it"
    assert metric(tmp_path, "failed") == {"a": 0, "b": 1, "c": 1}


@pytest.mark.long
@pytest.mark.parametrize("words", [["--run", "runs"], ["-o", "runs.parquet"]])
def test_an_engine_that_fails_is_told_by_its_type_alone(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def begin(self: FakeEngine, trees: Any) -> Any:
        raise ValueError("no float: Ann")

    monkeypatch.setattr(FakeEngine, "begin", begin)
    where: list[str | Path] = [words[0], tmp_path / words[1]]
    ran = invoke(made, tmp_path, "toys/like", *where)
    assert isinstance(ran.exception, ValueError)
    (run,) = told(tmp_path)["runs"]
    assert (run["name"], run["error"], run["finished"]) == ("runs", "ValueError", None)
    ran = invoke(made, tmp_path, "toys/like", *where, "--with-text")
    assert told(tmp_path)["runs"][0]["error"] == "ValueError: no float: Ann"


@pytest.mark.long
def test_what_is_wrong_at_the_start_and_ctrl_c_leave_the_files_of_before(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("night.json", "night.prom"):
        (tmp_path / name).write_text("yesterday's")
    into: list[str | Path] = ["--run", tmp_path / "runs"]
    for path in (plan(tmp_path, "name: a, adapter: nobody"), plan(tmp_path, "name: a, limt: 3")):
        assert invoke(made, tmp_path, "--plan", path, *into).exception is not None

    class Stopping:
        def __enter__(self) -> Any:
            return lambda: True

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(verb, "first_ctrl_c", lambda *_: Stopping())
    ran = invoke(made, tmp_path, "--plan", plan(tmp_path, "name: a"), *into)
    assert isinstance(ran.exception, StoppedBetween) or ran.exit_code == 130
    assert (tmp_path / "night.json").read_text() == "yesterday's"
    assert (tmp_path / "night.prom").read_text() == "yesterday's"


@pytest.mark.slow
def test_a_time_out_is_told_before_the_process_ends(made: Path, tmp_path: Path) -> None:
    code = (
        "import time\n"
        "from promptrank.engine.fake import FakeEngine\n"
        "def hang(self, trees):\n"
        "    time.sleep(600)\n"
        "    yield []\n"
        "FakeEngine.begin = hang\n"
        "from promptrank.cli.main import main\n"
        "main()\n"
    )
    words = ["rank", "toys/like", "--project", made, "--engine", "fake", "--timeout", "1"]
    words += ["--requests", made / "requests.parquet", "-o", tmp_path / "scores.parquet"]
    words += ["--summary", tmp_path / "night.json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.returncode == 75, done.stderr
    (run,) = told(tmp_path)["runs"]
    assert run["error"] == "one step of the engine fake took more than 1 s (--timeout)"


@pytest.mark.long
def test_one_file_says_the_sum_that_a_folder_says(made: Path, tmp_path: Path) -> None:
    row = {"request_id": "r", "item_id": "i", "member_id": "m", "member": {"name": "Ann"}}
    rows: list[dict[str, Any]] = [
        {**row, "candidate_id": "b", "item": {"title": "Ball", "color": "red"}},
        {**row, "candidate_id": "c", "item": {"title": None, "color": "red"}},
    ]
    bad = tmp_path / "bad.jsonl"
    bad.write_text("".join(json.dumps(each) + "\n" for each in rows) + "no json\n")
    lines, runs = [], []
    for words in (["--run", tmp_path / "s"], ["-o", tmp_path / "s.parquet"]):
        ran = CliRunner().invoke(
            app,
            [
                *("rank", "toys/like", "--engine", "fake", "--project", str(made)),
                *("--requests", str(bad), "--summary", "-", *map(str, words)),
            ],
        )
        assert ran.exit_code == 0, ran.output
        lines.append([line.partition(" -> ")[0] for line in ran.stderr.splitlines()])
        runs.append(json.loads(ran.stdout)["runs"][0])
    assert lines[0] == lines[1]
    assert "2 candidates of 1 request = 1 scored + 1 set aside" in lines[0]
    apart = {"folder", "finished", "start"}
    assert {k: v for k, v in runs[0].items() if k not in apart} == {
        k: v for k, v in runs[1].items() if k not in apart
    }


def test_words_of_an_error_hold_nothing_of_the_data() -> None:
    for message, kept in (
        ("t.csv: could not convert 'Ann' to a number", "t.csv: could not convert '...' to a numb"),
        ("t.csv: no 'Ann's' here, or 'b'; look", "t.csv: no '...'; look"),
        ("the run's file: value 'Ann and so on", "the run's file: value '...'"),
        ('a "b\nc" d', "a '...' d"),
    ):
        assert error_words(DataError(message)).startswith(kept)
    assert error_words(DataError("x 'Ann'"), with_text=True) == "x 'Ann'"
    assert error_words(OSError(errno.ENOSPC, "Ann", "a/b")) == "a/b: No space left on device"
    assert error_words(KeyError("Ann")) == "KeyError"


def test_every_word_of_the_sum_is_a_key_of_the_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    numbers = {"requests": 3, "candidates": 29, "scored": 11, "removed": 7, "set_aside": 6}
    counts = replace(NOTHING, **numbers, purged=5)  # type: ignore[arg-type]
    origin = Origin("decoder", task="t", engine={"name": "fake", "model": "m"})
    identity = RunIdentity(origin, {}, "")
    done = RunSummary(Path("runs/a"), 1, 0, counts, 0, identity, Throughput())
    say_run(done)
    line = capsys.readouterr().err.splitlines()[0].partition(" -> ")[0]
    assert line.count(" = ") == 1
    words = re.findall(r"(\d+) ([a-z ]+?)(?: by steps)?(?= of | = | \+ |$)", line)
    said = {word.replace(" ", "_"): int(number) for number, word in words}
    assert said == {**numbers, "purged": 5}
    assert counts.candidates == sum(counts_of for key, counts_of in said.items() if key in ADDED)
    told = RunReport("a", done, 0.0).as_dict()
    assert said == {key: told[key] for key in said} == {k: asdict(counts)[k] for k in said}
    assert set(said) | {"rows", "unread"} == set(TOTALS)
    say_run(replace(done, counted=replace(counts, unread=4)))
    assert capsys.readouterr().err.startswith("33 rows of the file = 29 candidates + 4 unread\n")
    gauges = set(re.findall(r"^# HELP promptrank_run_(\w+) ", metrics_text([]), re.M))
    assert set(TOTALS) <= gauges


@pytest.mark.long
@pytest.mark.parametrize("left", [1, 3])
def test_counts_are_those_of_an_unbroken_run_after_a_stop_and_after_damage(
    made: Path, tmp_path: Path, left: int
) -> None:
    row: dict[str, Any] = {"item_id": "i", "member_id": "m", "member": {"name": "Ann"}}
    lines = [
        json.dumps(row | {"request_id": f"r{n}", "candidate_id": c, "item": {"title": t, **RED}})
        for n in range(7)
        for c, t in (("b", "Ball"), ("c", None if n % 3 == 0 else "Car"))
    ]
    lines.insert(6, "no json")
    (tmp_path / "some.jsonl").write_text("".join(f"{line}\n" for line in lines))
    given: dict[str, Any] = {"engine": "fake", "project": made, "size": 2}
    given["requests"] = tmp_path / "some.jsonl"
    unbroken = rank_run("toys/like", tmp_path / "unbroken", **given)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > left

    with pytest.raises(StoppedBetween):
        rank_run("toys/like", tmp_path / "run", stop=stop, **given)
    scores = tmp_path / "run/scores/000000.parquet"
    for start, resumed in enumerate((left, unbroken.shards - 1, unbroken.shards)):
        done = rank_run("toys/like", tmp_path / "run", **given)
        assert (done.resumed, done.shards) == (resumed, unbroken.shards)
        assert done.counted == unbroken.counted
        written = json.loads((tmp_path / "run/summary.json").read_text())
        assert {key: written[key] for key in TOTALS} == {
            key: getattr(unbroken.counted, key) for key in TOTALS
        }
        if start == 0:
            scores.write_bytes(scores.read_bytes()[:-1])
    whole = unbroken.counted
    assert (whole.candidates, whole.scored, whole.set_aside, whole.unread) == (14, 11, 3, 1)
    assert whole.errors == sum(whole.reasons.values()) == 4
    assert whole.rows == len(lines)


@pytest.mark.long
def test_a_file_of_which_nothing_can_be_ranked_costs_no_scores_of_before(
    made: Path, tmp_path: Path
) -> None:
    out, errors = tmp_path / "x.parquet", tmp_path / "x.errors.jsonl"
    given: dict[str, Any] = {"engine": "fake", "project": made, "requests": made / "late.jsonl"}
    with pytest.raises(NothingScored, match=r"all 2 rows of it .*-> .*x\.errors\.jsonl\)"):
        rank("toys/like", out, **given)
    assert [path.name for path in tmp_path.iterdir()] == [errors.name]
    assert json.loads(errors.read_text())["rows"] == 2
    rank("toys/like", out, **(given | {"requests": None, "limit": 2}))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(NothingScored, match=r"-> .*x\.parquet\.partial/errors\)"):
        rank("toys/like", out, **given)
    assert all(path.read_bytes() == was for path, was in before.items())
    # No prompt can be made either.
    row = {"request_id": "1", "item_id": "i", "item": {"title": None, **RED}}
    (tmp_path / "null.jsonl").write_text(json.dumps(row | {"member": {"name": "Ann"}}) + "\n")
    with pytest.raises(NothingScored, match="the 1 row of it was set aside, most often for null"):
        rank_run("toys/like", tmp_path / "n", **(given | {"requests": tmp_path / "null.jsonl"}))


def test_what_a_purge_left_of_a_run_without_scores_is_told() -> None:
    told = str(nothing_scored(Path("a/r.jsonl"), NOTHING, Path("errors"), "mend that"))
    assert told == "nothing in r.jsonl could be ranked: all 0 rows of it were set aside; mend that"


@pytest.mark.slow
def test_each_run_of_a_plan_opens_as_a_dataset(made: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for name in ("a", "b"):
        rank_run(
            "toys/like",
            tmp_path / "runs" / name,
            engine="fake",
            project=made,
            requests=made / "requests.parquet",
            size=3 if name == "a" else 4,
            partition="date" if name == "b" else None,
        )
    code = (DOCS / "reference/several-runs.md").read_text().partition("```python\n")[2]
    room: dict[str, Any] = {}
    code = code.partition("```")[0].replace("runs/2026-11-27", str(tmp_path / "runs"))
    (tmp_path / "runs/plan.json").write_text(json.dumps({"runs": {"a": "toys/like", "b": "x"}}))
    datasets.disable_progress_bars()
    exec(code, room)
    for name, scores in room["runs"].items():
        files = sorted((tmp_path / "runs" / name).glob("scores/**/*.parquet"))
        tables = [pq.read_table(path, partitioning=None) for path in files]
        assert scores.num_rows == sum(map(len, tables)) > 0
        ids = {x for table in tables for x in table.column("request_id").to_pylist()}
        assert set(scores["request_id"]) == ids
    assert list(room["runs"]) == ["a", "b"]
