"""Purge: a person leaves tables that scores were published to, and nobody else does."""

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from promptrank.api.publish import publish
from promptrank.api.purge import purge
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.requests.write import write_table
from support.places import PASSWORD, postgres, run_sql

GONE, LONGER = "member-4711", "member-47110"
ROWS = [
    ("r1", GONE, "x"),
    ("r1", GONE, "y"),
    (f"{GONE}@12", None, "x"),  # theirs by its name
    ("r2", None, "x"),  # theirs by their request file alone
    ("r3", LONGER, "x"),
    ("r3", LONGER, GONE),  # somebody else's, who is shown them
    (f"{LONGER}@12", None, "x"),
]


def _published(root: Path, table: str) -> None:
    names = ("request_id", "subject_id", "item_id")
    columns = dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True))
    columns |= {"candidate_id": columns["item_id"], "score": [0.5] * len(ROWS)}
    pq.write_table(pa.table(columns), root / "night.parquet")
    for name in ("monday", "tuesday"):
        publish(root / "night.parquet", table, name=name)


def _requests(root: Path) -> Path:
    rows = [{"request_id": "r2", "member_id": GONE, "item_id": "x", "item": {"t": "x"}}]
    rows.append({"request_id": "r3", "member_id": LONGER, "item_id": "x", "item": {"t": "x"}})
    write_table(root / "requests.jsonl", rows)
    return root / "requests.jsonl"


def _there(file: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(file) as shop:
        asked = "SELECT request_id, subject_id, item_id FROM scores WHERE run = 'monday'"
        return sorted(shop.execute(asked).fetchall(), key=repr)


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_person_leaves_a_table_of_sqlite_and_its_bytes(tmp_path: Path, journal: str) -> None:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as shop:
        shop.execute(f"PRAGMA journal_mode = {journal}")
    table = f"sqlite://{file}#scores"
    _published(tmp_path, table)
    assert GONE.encode() in file.read_bytes().replace(LONGER.encode(), b"")
    command = ["purge", "--subject", GONE, "--table", table, "--project", str(tmp_path)]
    command += ["--requests", str(_requests(tmp_path))]
    before = _there(file)
    dry = CliRunner().invoke(app, [*command, "--items", "--dry-run"])
    assert f"{table}: 3 requests, 10 rows of scores would go" in dry.output, dry.output
    assert dry.exit_code == 0 and _there(file) == before
    undecided = CliRunner().invoke(app, command)
    assert undecided.exit_code == 3 and f"{table}: left as an item's id in" in undecided.output
    assert _there(file) == sorted(ROWS[4:], key=repr)
    done = CliRunner().invoke(app, [*command, "--items"])
    assert done.exit_code == 0, done.output
    assert f"{table}: 2 rows of scores removed" in done.output
    assert "0 left of 1 file and 1 table looked at" in done.output
    assert _there(file) == sorted([ROWS[4], ROWS[6]], key=repr)
    whole = b"".join(path.read_bytes() for path in tmp_path.glob("shop.db*"))
    assert GONE.encode() not in whole.replace(LONGER.encode(), b"")
    again = CliRunner().invoke(app, [*command, "--items"])
    assert again.exit_code == 0 and f"nothing of {GONE} in {table}, " in again.output


def test_rows_of_another_who_has_a_request_of_that_id_stay(tmp_path: Path) -> None:
    table = f"sqlite://{tmp_path}/shop.db#scores"
    given = {"request_id": ["r2"], "candidate_id": ["x"], "subject_id": [LONGER], "score": [0.5]}
    pq.write_table(pa.table(given), tmp_path / "other.parquet")
    publish(tmp_path / "other.parquet", table)
    done = purge(GONE, project=tmp_path, tables=[table], requests=[_requests(tmp_path)])
    assert done.left == () and done.removed[0].told() == ""


def test_a_shop_s_other_tables_are_told_by_name(tmp_path: Path) -> None:
    table = f"sqlite://{tmp_path}/shop.db#scores"
    _published(tmp_path, table)
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute(f"CREATE TABLE people AS SELECT '{GONE}' AS person_id, 4711 AS age")
    done = purge(GONE, project=tmp_path, tables=[table], items=True)
    assert any("shop.db: its other tables (people)" in words for words in done.beyond)
    # The row that only a request file tells of stays, and holds no id; nothing else does.
    assert done.left == () and ROWS[3] in _there(tmp_path / "shop.db")


def test_what_a_proof_of_a_table_sees(tmp_path: Path) -> None:
    table = f"sqlite://{tmp_path}/shop.db#scores"
    _published(tmp_path, table)
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("ALTER TABLE scores ADD COLUMN note")
        shop.execute("ALTER TABLE scores ADD COLUMN visits")
        shop.execute("UPDATE scores SET visits = 7, note = 'as 7, and 7' WHERE request_id = 'r3'")
    assert purge("7", project=tmp_path, tables=[table], items=True).left == ()
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute(f"UPDATE scores SET note = 'asked by {GONE}' WHERE request_id = 'r3'")
    (left,) = purge(GONE, project=tmp_path, tables=[table], items=True).left
    assert (left.path, left.where) == (table, "note")


def test_rows_that_were_deleted_before_are_seen_in_the_bytes(tmp_path: Path) -> None:
    table = f"sqlite://{tmp_path}/shop.db#scores"
    given = {"request_id": ["r1"], "candidate_id": ["x"], "subject_id": [GONE], "score": [0.5]}
    pq.write_table(pa.table(given), tmp_path / "one.parquet")
    publish(tmp_path / "one.parquet", table)
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("PRAGMA secure_delete = OFF")
        shop.execute("DELETE FROM scores")
    (left,) = purge(GONE, project=tmp_path, tables=[table]).left
    assert left.where == "bytes of shop.db, where rows were deleted: VACUUM it"
    with sqlite3.connect(tmp_path / "shop.db", isolation_level=None) as shop:
        shop.execute("VACUUM")
    assert purge(GONE, project=tmp_path, tables=[table]).left == ()


def test_tables_that_are_none_are_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("CREATE TABLE people (person_id TEXT)")
    for table, error, words in (
        ("shop.db#scores", InputError, "is no table of a database"),
        (f"postgresql://me:{PASSWORD}@host/db#t", InputError, "with a password"),
        (f"sqlite://{tmp_path}/none.db#scores", DataError, "no file .*none.db; look at the path"),
        (f"sqlite://{tmp_path}/shop.db#people", DataError, "not a table that publish made"),
        (f"sqlite://{tmp_path}/shop.db#scores", DataError, "no such table: scores"),
    ):
        with pytest.raises(error, match=words) as raised:
            purge(GONE, project=tmp_path, tables=[table])
        assert PASSWORD not in str(raised.value)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.slow
def test_a_person_leaves_a_table_of_postgres(tmp_path: Path) -> None:
    with postgres() as database:
        table = f"{database}#scores"
        _published(tmp_path, table)
        given: dict[str, Any] = {"tables": [table], "requests": [_requests(tmp_path)]}
        told = purge(GONE, project=tmp_path, **given, items=True, dry=True)
        assert told.removed[0].told() == "3 requests, 10 rows of scores" and told.left
        done = purge(GONE, project=tmp_path, **given, items=True)
        assert done.left == () and done.removed[0].told() == told.removed[0].told()
        assert any("until it vacuums" in words for words in done.beyond)
        asked = "SELECT request_id, subject_id, item_id FROM scores WHERE run = 'monday'"
        there = sorted(run_sql(database, asked), key=repr)
        assert there == sorted([ROWS[4], ROWS[6]], key=repr)
