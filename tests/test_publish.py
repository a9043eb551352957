"""Scores into a table of a database: all of a run or nothing, and once however often."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from promptrank.api.publish import PublishedRun, publish
from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.cli.endings import ending
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.places.sqlite_tables import opened
from promptrank.scores.origin import METADATA, Origin
from support.places import PASSWORD, postgres, run_sql

TASK = "toys/like"
RUNS = ("like", "short")
COLUMNS = "run, task, request_id, candidate_id, subject_id, item_id, rank, score, probability"


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as name:
        yield name


def _run(root: Path, name: str, **more: Any) -> Path:
    rank_run(TASK, root / name, engine="fake", project=root, size=5, **more)
    return root / name


def _expected(folder: Path) -> list[tuple[Any, ...]]:
    tables = [pq.read_table(path) for path in sorted(folder.glob("scores/*.parquet"))]
    rows = pa.concat_tables(tables).to_pylist()
    names = COLUMNS.split(", ")[2:]
    return sorted((folder.name, TASK, *(row[n] for n in names)) for row in rows)


def _sqlite(file: Path, table: str = "scores") -> list[tuple[Any, ...]]:
    with sqlite3.connect(file) as shop:
        return sorted(shop.execute(f"SELECT {COLUMNS} FROM {table}").fetchall())


@pytest.mark.slow
def test_a_run_stands_once_in_a_table_of_sqlite(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toys)
    first = _run(toys, "first")
    ran = CliRunner().invoke(app, ["publish", "first", "--to", "sqlite:shop.db#scores"])
    assert ran.exit_code == 0, ran.output
    rows = _expected(first)
    assert _sqlite(toys / "shop.db") == rows and len(rows) > 20
    again = CliRunner().invoke(app, ["publish", "first", "--to", f"sqlite://{toys}/shop.db#scores"])
    assert again.stderr.endswith(f"in place of {len(rows)}\n")
    other = _run(toys, "other", settings=["history.last=1"])
    publish(other, "sqlite:shop.db#scores")
    assert _sqlite(toys / "shop.db") == sorted(rows + _expected(other))
    # Scores of a ranker of one's own, one of them missing.
    given = {"request_id": ["a", "a"], "candidate_id": ["x", "y"], "score": [0.5, None]}
    pq.write_table(pa.table(given), toys / "own.parquet")
    done = publish(toys / "own.parquet", "sqlite:shop.db#own", name="mine")
    assert done.runs == (PublishedRun("mine", "", 1, 0),)
    nothing = (None, None, None, None)
    own = [("mine", "", "a", "x", *nothing[:3], 0.5, None)]
    assert _sqlite(toys / "shop.db", "own") == own
    # A second candidate of one key ends it, and what was there stays.
    given = {"request_id": ["a", "a"], "candidate_id": ["x", "x"], "score": [0.1, 0.2]}
    pq.write_table(pa.table(given), toys / "own.parquet")
    with pytest.raises(DataError, match="one candidate_id comes twice in one request_id"):
        publish(toys / "own.parquet", "sqlite:shop.db#own", name="mine")
    assert _sqlite(toys / "shop.db", "own") == own


def test_a_full_disk_leaves_no_new_file(tmp_path: Path) -> None:
    (tmp_path / "old.db").touch()
    for name in ("new.db", "old.db"):
        with (
            pytest.raises(DataError, match=rf"sqlite:{name}#t: No space left .*free some") as told,
            opened(tmp_path / name, f"sqlite:{name}#t", write=True) as connection,
        ):
            connection.execute("PRAGMA max_page_count = 1")
            connection.execute("CREATE TABLE t (a)")
        assert ending(told.value).code == 75
    assert [path.name for path in tmp_path.iterdir()] == ["old.db"]


@pytest.mark.long
def test_what_cannot_be_published_is_told(toys: Path) -> None:
    done = _run(toys, "done")
    with pytest.raises(InputError, match="is no table of a database"):
        publish(done, toys / "table.parquet")
    with pytest.raises(InputError, match="is no table of a database"):
        publish(done, "s3://bucket/table")
    with pytest.raises(InputError, match="with a password or key in it"):
        publish(done, f"postgresql://me:{PASSWORD}@host/db#scores")
    for scheme in ("POSTGRESQL", "postgresql+psycopg2", "oracle"):
        with pytest.raises(InputError, match="with a password or key in it") as error:
            publish(done, f"{scheme}://me:{PASSWORD}@host/db#scores")
        assert PASSWORD not in str(error.value)
    with pytest.raises(InputError, match="is no table of a database"):
        publish(done, "oracle://me@host/db#scores")
    with pytest.raises(DataError, match="no folder"):
        publish(done, f"sqlite://{toys}/none/shop.db#scores")
    (done / "summary.json").write_text("{}")
    with pytest.raises(DataError, match="does not say how many shards there are; the command"):
        publish(done, f"sqlite://{toys}/shop.db#scores")
    (done / "summary.json").unlink()
    with pytest.raises(DataError, match="the run is not finished"):
        publish(done, f"sqlite://{toys}/shop.db#scores")
    assert not (toys / "shop.db").exists()


@pytest.mark.slow
def test_a_run_stands_once_in_a_table_of_postgres(toys: Path, database: str) -> None:
    def rows() -> list[tuple[Any, ...]]:
        return sorted(run_sql(database, f"SELECT {COLUMNS} FROM shop.scores"))

    run_sql(database, "CREATE SCHEMA shop")
    table = f"{database}#shop.scores"
    first, other = _run(toys, "first"), _run(toys, "other", settings=["history.last=1"])
    (done,) = publish(first, table).runs
    assert (done.rows, done.replaced) == (len(_expected(first)), 0)
    both = [threading.Thread(target=publish, args=(folder, table)) for folder in (other, other)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    publish(first, table)
    expected = sorted(_expected(first) + _expected(other))
    assert rows() == expected
    # What ends halfway has changed nothing.
    given = {"request_id": ["a", "a"], "candidate_id": ["x", "x"], "score": [0.1, 0.2]}
    pq.write_table(pa.table(given), toys / "first.parquet")
    with pytest.raises(DataError, match="one candidate_id comes twice in one request_id") as error:
        publish(toys / "first.parquet", table)
    assert PASSWORD not in str(error.value)
    assert rows() == expected
    run_sql(database, "CREATE TABLE odd (run text)")
    with pytest.raises(DataError, match=r"#odd: has no column task, so it is not a table that"):
        publish(first, f"{database}#odd")


def _plan(root: Path, *names: str) -> Path:
    """A plan of runs of one task, under these names."""
    plan = root / "nightly.yaml"
    plan.write_text("runs:\n" + "".join(f"  - {{task: {TASK}, name: {n}}}\n" for n in names))
    return plan


@pytest.mark.long
def test_a_plan_is_published_whole_or_not_at_all(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toys)
    for night in ("monday", "tuesday"):
        rank_plan(_plan(toys, "like", "short"), toys / night, engine="fake", project=toys)
        ran = CliRunner().invoke(app, ["publish", night, "--to", "sqlite:shop.db#scores"])
        assert ran.exit_code == 0, ran.output
        lines = ran.stderr.splitlines()[-2:]
        assert [line.split(" -> ")[0].rpartition(" of ")[2] for line in lines] == [
            f"{night}/like",
            f"{night}/short",
        ]
    there = _sqlite(toys / "shop.db")
    assert {row[0] for row in there} == {f"{n}/{r}" for n in ("monday", "tuesday") for r in RUNS}
    # One of them by itself is the same run; under another name all of them are others.
    (done,) = publish(toys / "monday" / "like", "sqlite:shop.db#scores").runs
    assert done.replaced == done.rows and _sqlite(toys / "shop.db") == there
    named = publish(toys / "monday", "sqlite:shop.db#scores", name="week")
    assert [(run.run, run.replaced) for run in named.runs] == [("week/like", 0), ("week/short", 0)]
    # The second is damaged: nothing of the first is written either.
    before = _sqlite(toys / "shop.db")
    rank_plan(_plan(toys, "like", "short"), toys / "sunday", engine="fake", project=toys)
    (toys / "sunday/short/summary.json").unlink()
    with pytest.raises(DataError, match="short: the run is not finished"):
        publish(toys / "sunday", "sqlite:shop.db#scores")
    twice = next((toys / "tuesday/short/scores").glob("*.parquet"))
    monkeypatch.setattr("promptrank.runs.shards.damage", lambda *given: None)
    pq.write_table(pa.concat_tables([pq.read_table(twice)] * 2), twice)
    with pytest.raises(DataError, match="comes twice"):
        publish(toys / "tuesday", "sqlite:shop.db#scores")
    assert _sqlite(toys / "shop.db") == before


def _own(root: Path, task: str, item: str) -> Path:
    """A scores file of another task, whose name is that of a run."""
    folder = root / task
    folder.mkdir()
    given = {"request_id": ["a"], "candidate_id": [item], "item_id": [item], "score": [0.5]}
    origin = Origin("mine", task=task).to_json()
    table = pa.table(given).replace_schema_metadata({METADATA: origin})
    pq.write_table(table, folder / "night.parquet")
    return folder / "night.parquet"


def test_runs_of_one_name_keep_their_rows_by_task(toys: Path) -> None:
    table, older = (f"sqlite://{toys}/shop.db#{name}" for name in ("scores", "older"))
    like, love = _own(toys, "like", "x"), _own(toys, "love", "x")
    publish(like, table)
    (done,) = publish(love, table).runs
    assert done == PublishedRun("night", "love", 1, 0)
    assert [row[:4] for row in _sqlite(toys / "shop.db")] == [
        ("night", "like", "a", "x"),
        ("night", "love", "a", "x"),
    ]
    # A table of an earlier version, whose key is without the task, takes one task's run.
    with sqlite3.connect(toys / "shop.db") as shop:
        columns = ", ".join(f"{n} TEXT" for n in COLUMNS.split(", "))
        shop.execute(f"CREATE TABLE older ({columns}, PRIMARY KEY (run, request_id, candidate_id))")
    publish(like, older)
    assert publish(like, older).runs[0].replaced == 1
    with pytest.raises(DataError, match="its key is without task, as in tables of earlier"):
        publish(love, older)
    assert [row[1] for row in _sqlite(toys / "shop.db", "older")] == ["like"]
    with sqlite3.connect(toys / "shop.db") as shop:
        shop.execute("CREATE TABLE bare (run TEXT, request_id TEXT, candidate_id TEXT)")
    with pytest.raises(DataError, match="has no column task, so it is not a table that publish"):
        publish(love, f"sqlite://{toys}/shop.db#bare")
