"""Splits whose parts are files: their rows are of one table, and each file is of one part."""

from pathlib import Path
from typing import Any

import pytest

from promptrank.errors import DataError
from promptrank.schema.task import Task
from support.data import build, built, make_task, write_rows


def _task(path: list[str], test: str) -> Task:
    ratings = {
        "path": path,
        "member": "member_id",
        "item": "items",
        "time": "time",
        "label": "'like'",
        "context": ["price"],
    }
    return make_task(ratings=ratings, history=None, split={"by": "file", "test": test})


def _rows(prices: list[Any]) -> list[dict[str, Any]]:
    return [
        {"member_id": "m", "item_id": f"i{n}", "time": n, "price": price}
        for n, price in enumerate(prices)
    ]


@pytest.fixture
def items(tmp_path: Path) -> Path:
    write_rows(tmp_path / "items.parquet", [{"item_id": f"i{n}"} for n in range(3)])
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "known", "held", "shown"),
    [
        ("csv", "m,i0,0,9.90\nm,i1,1,3.25\n", "m,i0,0,n/a\n", "9.90"),
        (
            "jsonl",
            '{"member_id":"m","item_id":"i0","time":0,"price":9.90}\n'
            '{"member_id":"m","item_id":"i1","time":1,"price":3.25}\n',
            '{"member_id":"m","item_id":"i0","time":0,"price":"n/a"}\n',
            "9.9",
        ),
    ],
)
def test_types_come_from_all_files(
    items: Path, name: str, known: str, held: str, shown: str
) -> None:
    """The first file alone would be one of numbers, and the prompt would have rounded them."""
    head = "member_id,item_id,time,price\n" if name == "csv" else ""
    (items / f"known.{name}").write_text(head + known)
    (items / f"held.{name}").write_text(head + held)
    requests = built(_task([f"known.{name}", f"held.{name}"], f"held.{name}"), items)
    prices = {(r.split, c.context["price"]) for r in requests.values() for c in r.candidates}
    assert prices == {("train", shown), ("train", "3.25"), ("test", "n/a")}


def test_digits_that_would_be_lost_are_refused(items: Path) -> None:
    write_rows(items / "known.parquet", _rows([2**60 + 1]))
    write_rows(items / "held.parquet", _rows([0.5]))
    with pytest.raises(DataError, match=r"floating point cannot hold 1152921504606846977"):
        build(_task(["known.parquet", "held.parquet"], "held.parquet"), items)


@pytest.mark.long
def test_a_pattern_is_an_entry_and_a_file_of_two_entries_is_refused(items: Path) -> None:
    for name in ("a.parquet", "b.parquet", "held one's.parquet"):
        write_rows(items / name, _rows([name]))
    task = _task(["[ab].parquet", "held one's.parquet"], "held one's.parquet")
    split = {c.context["price"]: r.split for r in built(task, items).values() for c in r.candidates}
    assert split["held one's.parquet"] == "test"
    assert "test" not in [
        part for name, part in split.items() if name in ("a.parquet", "b.parquet")
    ]
    twice = _task(["[abh]*.parquet", "held one's.parquet"], "held one's.parquet")
    with pytest.raises(DataError, match=r"is read for .* and for .*name it once"):
        build(twice, items)
