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

from promptrank.api.publish import publish
from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from support.places import PASSWORD, postgres, run_sql

TASK = "toys/like"
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
    assert publish(first, f"sqlite://{toys}/shop.db#scores").rows == len(rows)
    other = _run(toys, "other", settings=["history.last=1"])
    publish(other, "sqlite:shop.db#scores")
    assert _sqlite(toys / "shop.db") == sorted(rows + _expected(other))
    # Scores of a ranker of one's own, one of them missing.
    given = {"request_id": ["a", "a"], "candidate_id": ["x", "y"], "score": [0.5, None]}
    pq.write_table(pa.table(given), toys / "own.parquet")
    assert publish(toys / "own.parquet", "sqlite:shop.db#own", name="mine").rows == 1
    nothing = (None, None, None, None)
    own = [("mine", None, "a", "x", *nothing[:3], 0.5, None)]
    assert _sqlite(toys / "shop.db", "own") == own
    # A second candidate of one key ends it, and what was there stays.
    given = {"request_id": ["a", "a"], "candidate_id": ["x", "x"], "score": [0.1, 0.2]}
    pq.write_table(pa.table(given), toys / "own.parquet")
    with pytest.raises(DataError, match="UNIQUE constraint failed"):
        publish(toys / "own.parquet", "sqlite:shop.db#own", name="mine")
    assert _sqlite(toys / "shop.db", "own") == own


def test_what_cannot_be_published_is_told(toys: Path) -> None:
    done = _run(toys, "done")
    with pytest.raises(InputError, match="is no table of a database"):
        publish(done, toys / "table.parquet")
    with pytest.raises(InputError, match="name a table to write to"):
        publish(done, "s3://bucket/table")
    with pytest.raises(InputError, match="with a password or key in it"):
        publish(done, f"postgresql://me:{PASSWORD}@host/db#scores")
    for scheme in ("POSTGRESQL", "postgresql+psycopg2", "oracle"):
        with pytest.raises(InputError, match="with a password or key in it") as error:
            publish(done, f"{scheme}://me:{PASSWORD}@host/db#scores")
        assert PASSWORD not in str(error.value)
    with pytest.raises(InputError, match="name a table to write to"):
        publish(done, "oracle://me@host/db#scores")
    with pytest.raises(DataError, match="no folder"):
        publish(done, f"sqlite://{toys}/none/shop.db#scores")
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
    assert publish(first, table).rows == len(_expected(first))
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
    with pytest.raises(DataError, match="duplicate key") as error:
        publish(toys / "first.parquet", table)
    assert PASSWORD not in str(error.value)
    assert rows() == expected
    run_sql(database, "CREATE TABLE odd (run text)")
    with pytest.raises(DataError, match=r"#odd: Column .task. does not exist"):
        publish(first, f"{database}#odd")


def test_nights_of_a_plan_do_not_take_each_others_rows(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toys)
    plan = toys / "nightly.yaml"
    plan.write_text(f"runs:\n  - task: {TASK}\n    name: like\n")
    rows = 0
    for night in ("monday", "tuesday"):
        rank_plan(plan, toys / night, engine="fake", project=toys)
        rows += publish(toys / night / "like", "sqlite:shop.db#scores").rows
    there = _sqlite(toys / "shop.db")
    assert {row[0] for row in there} == {"monday/like", "tuesday/like"} and len(there) == rows
