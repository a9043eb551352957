"""Two runs of one output or one name, and runs that were killed: what becomes of each."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import promptrank
from promptrank.adapters.card import read_card
from promptrank.api import train as training
from promptrank.basics.files import write_text
from promptrank.errors import InputError
from promptrank.runs.scored_file import Ranked
from promptrank.training import run_folder
from support.runs import apart, run
from support.toys import make_project

pytestmark = pytest.mark.slow

RANK = """
import os, sys
import promptrank.api.rank as api
from promptrank.cli.main import main
from promptrank.runs import scored_file
scored_file.FILE_SHARD = 1
signal, at, score_into = int(sys.argv.pop(1)), int(sys.argv.pop(1)), api.score_into
def held(*given, progress, **more):
    def stop(done, total):
        if done == at + 1:  # so many are in shards by then
            os.kill(os.getpid(), signal)
    return score_into(*given, progress=stop, **more)
api.score_into = held
main()
"""

BUILD = """
import os, signal, sys
import promptrank.tables.row_tables as tables
from promptrank.cli.main import main
make_rows = tables.make_rows
def ended(con, plan, *more):
    assert len(os.listdir(os.path.dirname(sys.argv[-1]))) == 3  # two locks and the database
    os.kill(os.getpid(), signal.SIGTERM)
    make_rows(con, plan, *more)
tables.make_rows = ended
main()
"""


@pytest.fixture
def project(tmp_path: Path, tiny_llama_path: Path) -> Path:
    return make_project(tmp_path / "project", tiny_llama_path)


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    """A folder for the temporary files of other processes."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield folder


def start(
    number: int, at: int, project: Path, out: Path, temporary: Path
) -> "subprocess.Popen[str]":
    """``rank`` in another process, which sends itself a signal after so many requests."""
    words = [sys.executable, "-c", RANK, str(int(number)), str(at)]
    words += ["rank", "toys/like", "--engine", "fake", "--project", str(project), "-o", str(out)]
    env = os.environ | {"TMPDIR": str(temporary)}
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env)


def rows(path: Path) -> list[dict[str, Any]]:
    table = pq.ParquetFile(path).read(["request_id", "candidate_id", "score"])
    return table.to_pylist()  # type: ignore[no-any-return]


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def rank(project: Path, out: Path, **more: Any) -> Ranked:
    return promptrank.rank("toys/like", out, project=project, engine="fake", **more)


def test_a_second_run_is_refused_and_the_first_ends_as_if_alone(
    project: Path, tmp_path: Path, temporary: Path
) -> None:
    rank(project, tmp_path / "one" / "s.parquet")
    out = tmp_path / "out" / "s.parquet"
    child = start(signal.SIGSTOP, 4, project, out, temporary)
    try:
        assert os.WIFSTOPPED(os.waitpid(child.pid, os.WUNTRACED)[1])
        held = contents(out.parent / "s.parquet.partial")
        assert len(held) > 4
        for more in ({}, {"limit": 3}, {"splits": {"train"}}):
            with pytest.raises(InputError, match=rf"process {child.pid} on .*promptrank rank, sin"):
                rank(project, out, **more)
        evaluated: dict[str, Any] = {"project": project, "engine": "fake"}
        with pytest.raises(InputError, match=f"is being written by process {child.pid}"):
            promptrank.evaluate("toys/like", out=out.with_name("s.json"), **evaluated)
        assert contents(out.parent / "s.parquet.partial") == held
        child.send_signal(signal.SIGCONT)
        assert child.wait() == 0
    finally:
        child.kill()
        child.communicate()
    assert rows(out) == rows(tmp_path / "one" / "s.parquet")
    assert sorted(p.name for p in out.parent.iterdir()) == [
        "s.config.json",
        "s.errors.jsonl",
        "s.parquet",
    ]


def test_a_killed_run_goes_on_or_starts_over_and_leaves_nothing(
    project: Path, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rank(project, tmp_path / "one" / "s.parquet")
    out = tmp_path / "out" / "s.parquet"
    child = start(signal.SIGKILL, 4, project, out, temporary)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert [p.suffix for p in temporary.iterdir()].count(".lock") >= 1
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    other = tmp_path / "other" / "s.parquet"
    other.parent.mkdir()
    shutil.copytree(out.parent / "s.parquet.partial", other.parent / "s.parquet.partial")
    monkeypatch.setattr("promptrank.runs.scored_file.FILE_SHARD", 1)
    assert rank(project, out).resumed == 4
    assert rows(out) == rows(tmp_path / "one" / "s.parquet")
    assert list(temporary.iterdir()) == []
    few = rank(project, other, limit=3)
    assert (few.resumed, few.requests) == (0, 3)
    assert len({row["request_id"] for row in rows(other)}) == 3 < whole.requests


def test_sigterm_ends_a_build_cleanly(project: Path, tmp_path: Path) -> None:
    """In the middle of its tables, with its database beside the output."""
    words = [sys.executable, "-c", BUILD, "build", "toys/like", "--project", str(project)]
    out = tmp_path / "out" / "r.parquet"
    made = subprocess.run([*words, "-o", str(out)], stderr=subprocess.PIPE, text=True, check=False)
    assert made.returncode == 143
    assert made.stderr.splitlines()[-1].startswith("stopped by SIGTERM; ")
    assert "Traceback" not in made.stderr
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("query", ["SELECT * FROM raw", "SELECT raw.* FROM raw, other"])
def test_a_run_over_a_query_does_not_go_on_over_changed_items(
    project: Path, tmp_path: Path, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.runs.scored_file.FILE_SHARD", 1)
    task = project / "tasks/toys/like.yaml"
    task.write_text(
        task.read_text().replace(
            "toys: {path: toys.csv, key: toy_id}",
            "raw: {path: toys.csv, key: toy_id}\n  other: {path: other.csv, key: n}\n"
            f"  toys: {{sql: '{query}', key: toy_id}}",
        )
    )
    (project / "other.csv").write_text("n\n1\n")
    requests = tmp_path / "r.jsonl"
    lines = [{"request_id": f"r{n}", "member": {"name": "A"}, "item_id": "t1"} for n in range(4)]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def stop(done: int, total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    out, toys = tmp_path / "s.parquet", project / "toys.csv"
    with pytest.raises(KeyboardInterrupt):
        rank(project, out, requests=requests, progress=stop)
    toys.touch()  # the same rows: nothing has changed
    assert rank(project, out, requests=requests).resumed == 2
    with pytest.raises(KeyboardInterrupt):
        rank(project, out, requests=requests, progress=stop)
    toys.write_text(toys.read_text().replace("Toy 1,", "Another toy,"))
    assert rank(project, out, requests=requests).resumed == 0
    assert len({row["score"] for row in rows(out)}) == 1


def test_items_in_the_rows_need_no_table_that_can_be_read(project: Path, tmp_path: Path) -> None:
    task = project / "tasks/toys/like.yaml"
    gone = "toys: {sql: SELECT * FROM read_csv('gone.csv'), key: toy_id}"
    task.write_text(task.read_text().replace("toys: {path: toys.csv, key: toy_id}", gone))
    item = {"title": "Toy", "color": "red"}
    row = {"request_id": "r", "member": {"name": "A"}, "item_id": "t1", "item": item}
    (tmp_path / "r.jsonl").write_text(json.dumps(row) + "\n")
    assert rank(project, tmp_path / "s.parquet", requests=tmp_path / "r.jsonl").requests == 1


# -- training --------------------------------------------------------------------------------


def test_two_trainings_of_one_name_are_refused_and_do_not_mix(toys: Path) -> None:
    refused: list[str] = []

    def second(done: int, total: int | None) -> None:
        for more in ({}, {"overwrite": True}, {"resume": True}) if not refused else ():
            with pytest.raises(InputError, match=r"adapters/a is being written by") as caught:
                run(toys, "a", **more)
            refused.append(str(caught.value))

    one = run(toys, "a", progress=second)
    assert refused
    assert apart(one.path, run(toys, "b").path) == 0
    assert sorted(p.name for p in (toys / "adapters").iterdir()) == ["a", "b"]


def test_a_training_killed_while_it_builds_is_resumed_over_todays_tables(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "prepare_tasks", kill)
    with pytest.raises(KeyboardInterrupt):
        run(toys, "a")
    monkeypatch.undo()
    assert (toys / "adapters" / ".a.run" / "requests-0.parquet").is_file()
    people = toys / "people.csv"
    people.write_text(people.read_text().replace("Person", "Somebody"))
    said: list[str] = []
    made = run(toys, "a", resume=True, say=said.append)
    assert any("starting over" in line for line in said)
    first, second = read_card(made.path), read_card(run(toys, "b", resume=True).path)
    assert first is not None and second is not None
    assert (
        first.tasks["toys/like"].fingerprints["data"]
        == second.tasks["toys/like"].fingerprints["data"]
    )


def test_a_training_killed_in_its_last_moment_is_whole(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the adapter's coming to its place and the removal of the run."""

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "_discard", kill)
    with pytest.raises(KeyboardInterrupt):
        run(toys, "a")
    monkeypatch.undo()
    assert (toys / "adapters" / "a").is_dir()
    with pytest.raises(InputError, match="there is an adapter of this name"):
        run(toys, "a", resume=True)
    assert sorted(p.name for p in (toys / "adapters").iterdir()) == ["a"]


def test_another_training_over_a_half_built_one_does_not_take_its_files(toys: Path) -> None:
    folder = toys / "adapters" / ".a.run"
    folder.mkdir(parents=True)
    write_text(folder / "requests-0.parquet", "not even a table")
    assert run(toys, "a").path.is_dir()
