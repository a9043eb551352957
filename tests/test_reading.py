"""Types of tables: from all rows, text stays text, whole numbers stay whole."""

import csv
import json
import math
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.errors import DataError
from promptrank.prompt.printing import NotText, text_of
from promptrank.schema.task import Task
from promptrank.tables.own_items import task_items
from support.data import build, built, make_task, write_rows

Fields = dict[str, Any]


def _task(path: str | list[str], **more: Any) -> Task:
    return make_task(tables={"items": {"path": path, "key": "item_id", **more}})


def _items(root: Path, path: str | list[str], **more: Any) -> list[Fields]:
    """What items look like to a template, by id."""
    with task_items(_task(path, **more), root) as items:
        return [dict(items.row(i).fields) for i in range(len(items))]


def _lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.long
def test_json_types_come_from_all_rows(tmp_path: Path) -> None:
    rows: list[Fields] = [{"item_id": i, "n": 4 if i < 21_000 else 4.5} for i in range(21_001)]
    rows.append({"item_id": "B1", "n": 5})
    _lines(tmp_path / "items.jsonl", rows)
    items = {item["item_id"]: item["n"] for item in _items(tmp_path, "items.jsonl")}
    assert (items["7"], items["21000"], items["B1"]) == (4.0, 4.5, 5.0)


def test_text_of_json_stays_what_it_is(tmp_path: Path) -> None:
    row = {
        "item_id": "B8ACD569-1B2C-4E47-8245-CB3AB4E4CEDE",
        "hex": "9a595726e8ee4f88af58e614bd7a981a",
        "day": "2001-01-02",
        "moment": "2001-01-02T03:04:05Z",
        "odd": "03/04/2024",
        "number": "007",
        "yes": "true",
        "null": None,
        "true": True,
        "big": 12345678901234567890123,
        "serial": 1234567890123456789,
        "list": [1999, 2000],
        "none": [],
        "box": {"a": "2001-01-02", "b": [{"c": 18446744073709551615}]},
    }
    _lines(tmp_path / "items.jsonl", [row])
    assert _items(tmp_path, "items.jsonl") == [row]


def test_a_json_column_of_several_kinds_is_text_as_written(tmp_path: Path) -> None:
    rows = [
        {"item_id": 1, "title": 1984, "box": {"x": 1}, "list": [1, "a", 2.5], "flag": True},
        {"item_id": 2, "title": "Fargo", "box": {"x": "y"}, "list": [], "flag": 1},
        {"item_id": "a3", "title": 12345678901234567890123, "mixed": 0.5},
        {"item_id": "a4", "mixed": 1234567890123456789, "nested": [0.5]},
        {"item_id": "a5", "mixed": None, "nested": [1234567890123456789]},
    ]
    _lines(tmp_path / "items.jsonl", rows)
    items = _items(tmp_path, "items.jsonl")
    assert [item["item_id"] for item in items] == ["1", "2", "a3", "a4", "a5"]
    assert [item["title"] for item in items[:3]] == ["1984", "Fargo", "12345678901234567890123"]
    assert [item["box"] for item in items[:3]] == [{"x": "1"}, {"x": "y"}, None]
    assert [item["list"] for item in items[:2]] == [["1", "a", "2.5"], []]
    assert [item["flag"] for item in items[:2]] == ["true", "1"]
    # A float cannot hold the other, so both are decimals of one column, or text inside of a list.
    assert [item["mixed"] for item in items[2:4]] == [0.5, Decimal("1234567890123456789.0")]
    assert [item["nested"] for item in items[3:]] == [["0.5"], ["1234567890123456789"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1, 2], "each row of a JSON file is an object"),
        ([{"item_id": 1, "Title": "a"}, {"item_id": 2, "title": "b"}], "both 'Title' and 'title'"),
    ],
)
def test_json_that_is_no_table(tmp_path: Path, rows: list[Any], message: str) -> None:
    _lines(tmp_path / "items.jsonl", rows)
    with pytest.raises(DataError, match=f"tables.items.path: .*{message}"):
        _items(tmp_path, "items.jsonl")


def test_numbers_of_either_sign_are_whole(tmp_path: Path) -> None:
    """A type is found from all rows, wherever in the file they stand."""
    rows = [{"item_id": i, "n": -1 if i else 2**63 - 1, "l": [[-1] if i else []]} for i in range(3)]
    rows.append({"item_id": 3, "n": None, "l": None, "late": {"a": 1}})
    _lines(tmp_path / "items.jsonl", rows)
    late = {"late": None}
    assert _items(tmp_path, "items.jsonl") == [late | row for row in rows]


def test_many_keys_are_a_map(tmp_path: Path) -> None:
    rows = [{"item_id": i, "by_member": {f"m{i}": i, "all": 1}} for i in range(300)]
    _lines(tmp_path / "items.jsonl", rows)
    items = {item["item_id"]: item["by_member"] for item in _items(tmp_path, "items.jsonl")}
    assert items[7] == {"m7": 7, "all": 1}


CSV = {
    "yes": (["yes", "no"], ["yes", "no"]),
    "true": (["True", "False"], ["True", "False"]),
    "zip": (["02139", "90210"], ["02139", "90210"]),
    "code": (["12E4", "7E10"], ["12E4", "7E10"]),
    "phone": (["+491234", "+495678"], ["+491234", "+495678"]),
    "odd": (["03/04/2024", "01/02/2024"], ["03/04/2024", "01/02/2024"]),
    "iso": (["2024-05-01T08:00:00Z", "2024-05-02T08:00:00Z"],) * 2,
    "half": (["2024-05-01 08:00:00", "2024-05-02"], ["2024-05-01 08:00:00", "2024-05-02"]),
    "no day": (["2024-02-30", "2024-02-28"], ["2024-02-30", "2024-02-28"]),
    "day": (["2024-05-01", "1999-12-31"], [date(2024, 5, 1), date(1999, 12, 31)]),
    "time": (
        ["2024-05-01 08:00:00", "2024-05-01 08:00:00.000001"],
        [datetime(2024, 5, 1, 8), datetime(2024, 5, 1, 8, 0, 0, 1)],
    ),
    "whole": (["1984", "-7"], [1984, -7]),
    "spaced": ([" 5", "6 "], [5, 6]),
    "money": (["9.90", "12"], [9.9, 12.0]),
    "tiny": (["1e-05", "1.5E7"], [1e-05, 1.5e7]),
    "nan": (["nan", "0.5"], [None, 0.5]),
    "ean": (["12345678901234567890123", "1"], [12345678901234567890123, 1]),
    "endless": (["1" * 50, "2"], ["1" * 50, "2"]),
    "serial": (
        ["1234567890123456789", "0.5"],
        [Decimal("1234567890123456789.0"), 0.5],
    ),
    "words": (["1984", "Fargo"], ["1984", "Fargo"]),
    "empty": (["", ""], [None, None]),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CSV)
def test_a_csv_column_is_what_all_of_its_values_are(tmp_path: Path, name: str) -> None:
    written, wanted = CSV[name]
    with (tmp_path / "items.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["item_id", name], *zip("ab", written, strict=True)])
    items = _items(tmp_path, "items.csv")
    assert [item["item_id"] for item in items] == ["a", "b"]
    assert [item[name] for item in items] == wanted
    assert [type(item[name]) for item in items] == [type(value) for value in wanted]


def test_the_first_line_of_a_csv_names_its_columns(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,1999\n1,2\n", encoding="utf-8")
    assert _items(tmp_path, "items.csv") == [{"item_id": "1", "1999": 2}]


@pytest.mark.long
def test_yes_and_no_are_labels(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": "a"}, {"item_id": "b"}])
    (tmp_path / "ratings.csv").write_text(
        "member_id,item_id,ok,time\nm,a,yes,1\nm,b,no,2\n", encoding="utf-8"
    )
    answers = {"yes": {"say": "Yes", "value": 1}, "no": {"say": "No", "value": 0}}
    ratings = {"path": "ratings.csv", "member": "member_id", "item": "items", "time": "time"}
    task = make_task(
        ratings={**ratings, "label": "ok", "context": ["ok"]},
        questions={"q": {"answers": answers}},
    )
    (request,) = built(task, tmp_path).values()
    assert [(c.outcomes["q"], c.context["ok"]) for c in request.candidates] == [
        ("yes", "yes"),
        ("no", "no"),
    ]


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_wide_whole_numbers_and_short_decimals(tmp_path: Path, suffix: str) -> None:
    query = (
        "SELECT 7::DECIMAL(38,0) AS item_id, 1996::DECIMAL(38,0) AS year, 9.90::DECIMAL(10,2) AS "
        "price, 12345678901234567890123::DECIMAL(38,0) AS ean, [1999::DECIMAL(20,0)] AS years, "
        "{'n': 5::DECIMAL(38,0), 'f': 12.8::FLOAT} AS box, 12.8::FLOAT AS short, 0.1 + 0.2::DOUBLE "
        "AS long, [0.1::FLOAT, 'nan'] AS list, 12345678901234567890.12::DECIMAL(38,2) AS exact"
    )
    duckdb.sql(f"COPY ({query}) TO '{tmp_path / 'members.parquet'}'")
    write_rows(
        tmp_path / "ratings.parquet", [{"member_id": 7, "item_id": "7", "time": 1, "rating": 5}]
    )
    raw = {"path": "members.parquet", "key": "item_id"}
    made = {"sql": "SELECT *, sum(year) OVER () AS total FROM raw", "key": "item_id"}
    ratings = {"path": "ratings.parquet", "member": "raw", "item": "items", "time": "time"}
    task = make_task(
        tables={"items": made, "raw": raw},
        ratings=ratings | {"member": {"column": "member_id", "table": "raw"}, "label": "'like'"},
    )
    wanted = {
        "item_id": 7,
        "year": 1996,
        "price": 9.9,
        "ean": 12345678901234567890123,
        "years": [1999],
        "box": {"n": 5, "f": 12.8},
        "short": 12.8,
        "long": 0.1 + 0.2,
        "list": [0.1, None],
        "exact": Decimal("12345678901234567890.12"),
        "total": 1996,
    }
    (request,) = built(task, tmp_path, out=tmp_path / f"o{suffix}").values()
    fields = dict(request.candidates[0].item.fields)
    assert fields == wanted
    assert {n: type(x) for n, x in fields.items()} == {n: type(x) for n, x in wanted.items()}


@pytest.mark.long
def test_files_that_disagree(tmp_path: Path) -> None:
    def files(*columns: tuple[list[Any], pa.DataType]) -> list[str]:
        names = []
        for i, (values, kind) in enumerate(columns):
            ids = pa.array([f"{i}{j}" for j in range(len(values))])
            name = f"part-{i}.parquet"
            pq.write_table(pa.table({"item_id": ids, "x": pa.array(values, kind)}), tmp_path / name)
            names.append(name)
        return names

    def read(*columns: tuple[list[Any], pa.DataType]) -> list[Any]:
        return [item["x"] for item in _items(tmp_path, files(*columns))]

    assert read(([1], pa.int64()), ([2.5, math.nan], pa.float64())) == [1.0, 2.5, None]
    assert read(([12.8], pa.float32()), ([0.1], pa.float64())) == [12.8, 0.1]
    assert read(([1], pa.int8()), ([2**63], pa.uint64())) == [1, 2**63]
    assert read(([1984], pa.int64()), (["Fargo"], pa.string())) == ["1984", "Fargo"]
    assert read(([True], pa.bool_()), ([1], pa.int64())) == ["true", "1"]
    # A column without any value has a type by accident.
    assert read(([None], pa.int32()), ([["a"]], pa.list_(pa.string()))) == [None, ["a"]]
    assert read(([None], pa.null()), ([2**60], pa.int64())) == [None, 2**60]
    with pytest.raises(DataError, match=r"'x' is BIGINT in .*part-0.* and DOUBLE .*1234567890123"):
        read(([1234567890123456789], pa.int64()), ([1.0], pa.float64()))
    with pytest.raises(DataError, match=r"BIGINT\[\].* VARCHAR .*write it with one type"):
        read(([[1]], pa.list_(pa.int64())), (["a"], pa.string()))
    whole = pa.table({"item_id": pa.array([1, 2], pa.int64())})
    pq.write_table(whole, tmp_path / "part-0.parquet")
    pq.write_table(pa.table({"item_id": ["a", "b"]}), tmp_path / "part-1.parquet")
    pq.write_table(pa.table({"item_id": [7.0]}), tmp_path / "part-2.parquet")
    with task_items(_task("part-*.parquet"), tmp_path) as items:
        assert [items.id_at(i) for i in range(5)] == ["1", "2", "7", "a", "b"]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_folder_is_no_column(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "title=Wrong"
    folder.mkdir()
    duckdb.sql(
        f"COPY (SELECT 'a' AS item_id, 'Right' AS title) TO '{tmp_path / 'x'}' (FORMAT "
        f"{'json' if suffix == 'jsonl' else suffix})"
    )
    (tmp_path / "x").rename(folder / f"items.{suffix}")
    row = [{"item_id": "a", "title": "Right"}]
    assert _items(tmp_path, f"title=Wrong/items.{suffix}") == row
    (tmp_path / "other=1").mkdir()
    (folder / f"items.{suffix}").rename(tmp_path / "other=1" / f"items.{suffix}")
    assert _items(tmp_path, f"*/items.{suffix}") == row


@pytest.mark.long
def test_text_may_be_a_time(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": "a", "since": "2024-01-01"}])
    days = ["2024-05-01", "2024-05-01T02:00:00+02:00", "2024-05-01 00:00:00.5Z"]
    rows = [
        {"member_id": f"m{i}", "item_id": "a", "time": d, "rating": 5} for i, d in enumerate(days)
    ]
    _lines(tmp_path / "ratings.jsonl", rows)
    items = {"path": "items.parquet", "key": "item_id", "valid_from": "since"}
    ratings = make_task().ratings
    assert ratings is not None
    source = ratings.model_dump(exclude_unset=True) | {"path": "ratings.jsonl"}
    task = make_task(tables={"items": items}, ratings=source)
    requests = built(task, tmp_path)
    assert [r.time for r in requests.values()] == [1714521600.0, 1714521600.0, 1714521600.5]
    assert requests["m0@1714521600"].candidates[0].item.fields["since"] == "2024-01-01"
    _lines(tmp_path / "ratings.jsonl", [*rows, rows[0] | {"time": "01.05.2024"}])
    with pytest.raises(DataError, match=r"ratings.time: .*'01.05.2024' is not written as one"):
        build(task, tmp_path)


def test_times_are_in_utc_wherever_the_machine_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    moment = pa.array([0], pa.timestamp("s", tz="UTC"))
    pq.write_table(pa.table({"item_id": ["a"], "at": moment}), tmp_path / "items.parquet")
    assert str(_items(tmp_path, "items.parquet")[0]["at"]) == "1970-01-01 00:00:00+00:00"


_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=8)
_TYPED = {
    "whole": st.integers(-(10**30), 10**30),
    "float": st.floats(allow_nan=False, allow_infinity=False, width=64),
    "short": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "text": _TEXT,
    "look": st.sampled_from(
        ["yes", "007", "2024-05-01T00:00", "03/04/2024", "12E4", "true", "1.0a"]
    ),
    "day": st.dates(),
    "time": st.datetimes(),
}
_ARROW = {
    "whole": pa.decimal128(38, 0),
    "float": pa.float64(),
    "short": pa.float32(),
    "text": pa.string(),
    "look": pa.string(),
    "day": pa.date32(),
    "time": pa.timestamp("us"),
}


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_three_formats_give_one_prompt(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    root = tmp_path_factory.mktemp("formats")
    size = data.draw(st.integers(1, 4))
    columns = {
        name: data.draw(st.lists(values, min_size=size, max_size=size), label=name)
        for name, values in _TYPED.items()
    }
    ids = [f"i{k}" for k in range(size)]
    arrays = {
        n: pa.array([Decimal(x) for x in v] if n == "whole" else v, _ARROW[n])
        for n, v in columns.items()
    }
    pq.write_table(pa.table({"item_id": ids} | arrays), root / "items.parquet")
    # 32 bits have digits of their own, which a text file writes out.
    columns["short"] = [float(str(arrays["short"].to_numpy()[k])) for k in range(size)]
    rows = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    rows = [{"item_id": i} | row for i, row in zip(ids, rows, strict=True)]
    with (root / "items.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, default=str) + "\n" for row in rows)
    with (root / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([list(rows[0]), *[list(row.values()) for row in rows]])
    parquet = [_printed(row) for row in _items(root, "items.parquet")]
    assert parquet == [_printed(row) for row in rows]
    assert [_printed(row) for row in _items(root, "items.jsonl")] == parquet
    # A CSV says no types: text that is written as a number is one, and may lose a zero.
    for ours, theirs in zip(_items(root, "items.csv"), parquet, strict=True):
        for name in ("whole", "text", "look", "day", "time"):
            assert _printed(ours)[name] == theirs[name]
        for name in ("float", "short"):
            assert float(ours[name]) == float(theirs[name])


def _printed(row: Fields) -> dict[str, str]:
    def text(value: Any) -> str:
        try:
            return text_of(value)
        except NotText as error:
            return str(error)

    return {name: text(value) for name, value in row.items()}
