"""Tables: what is read, and what each bad one says."""

import re
from pathlib import Path
from typing import Any

import pytest

from promptrank.errors import DataError
from promptrank.schema.task import Task
from promptrank.tables.supplied import columns_of
from support.data import Row, build, built, make_task, read, write_rows

RATINGS = {
    "path": "ratings.parquet",
    "member": "member_id",
    "item": "items",
    "time": "time",
    "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
}


def _write(root: Path, items: list[Row] | None = None, ratings: list[Row] | None = None) -> None:
    write_rows(root / "items.parquet", items or [{"item_id": "a", "title": "A"}])
    row = {"member_id": "m", "item_id": "a", "time": 1, "rating": 5}
    write_rows(root / "ratings.parquet", ratings or [row])


def _ratings(**change: Any) -> Task:
    given = {k: v for k, v in (RATINGS | change).items() if v is not None}
    return make_task(ratings=given)


def _items(**table: Any) -> Task:
    return make_task(tables={"items": {"key": "item_id", **table}})


@pytest.mark.long
def test_csv_jsonl_globs_queries_and_computed_columns(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(
        "item_id,title\n007,Bond\n08,Übung 日本\n", encoding="utf-8"
    )
    folder = tmp_path / "parts"
    folder.mkdir()
    lines = ['{"who": "m", "item_id": "007", "day": "2020-01-02", "stars": 5}']
    (folder / "1.jsonl").write_text(lines[0], encoding="utf-8")
    (folder / "2.jsonl").write_text(
        lines[0].replace("007", "08").replace("-02", "-03"), encoding="utf-8"
    )
    task = make_task(
        tables={
            "both": {"sql": "SELECT *, upper(title) AS loud FROM raw", "key": "item_id"},
            "raw": {"path": "items.csv", "key": "item_id", "columns": {"length": "len(title)"}},
        },
        ratings={
            "path": "parts/*.jsonl",
            "member": "who",
            "item": "both",
            "time": "day",
            "label": "CASE WHEN stars > 3 THEN 'like' END",
            "columns": {"stars": "stars - 1"},
            "context": ["stars"],
            "group": {"last": 1},
        },
    )
    requests = built(task, tmp_path)
    assert list(requests) == ["m@1577923200", "m@1578009600"]
    candidate = requests["m@1577923200"].candidates[0]
    # Leading zeros are part of an id; a replaced column holds the new value.
    assert candidate.item.fields == {"item_id": "007", "title": "Bond", "length": 4, "loud": "BOND"}
    assert candidate.context == {"stars": 4}
    assert requests["m@1578009600"].candidates[0].item.fields["loud"] == "ÜBUNG 日本"


def test_whole_floats_are_the_ids_they_look_like(tmp_path: Path) -> None:
    _write(tmp_path, [{"item_id": 7}], [{"member_id": 1, "item_id": 7.0, "time": 1.5, "rating": 5}])
    assert list(built(make_task(), tmp_path)) == ["1@1.5"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            _items(path="itmes.parquet"),
            r"tables.items.path: no file .*; did you mean 'items.parquet'",
        ),
        (_items(path="no/items.parquet"), r"tables.items.path: no folder"),
        (_items(path="."), "is a folder; name its files"),
        (_items(path="*.csv"), r"no file"),
        (_items(path="items.xlsx"), r"no file|cannot tell"),
        (_items(path=[]), "the list of files is empty"),
        (_items(sql="SELECT * FROM nothing"), r"tables.items.sql: .*nothing does not exist"),
        (_items(sql="SELEC 1"), r"tables.items.sql: Parser Error"),
        (_items(path="items.parquet", columns={"x": "titel"}), r"tables.items.columns.x: .*titel"),
        (
            make_task(tables={"items": {"path": "items.parquet", "key": "itemid"}}),
            r"tables.items.key: no column 'itemid' in tables.items; did you mean 'item_id'",
        ),
        (
            _ratings(member="user", time="when"),
            r"ratings.member: no column 'user'[\s\S]*ratings.time: no",
        ),
        (
            _ratings(weight="w", context=["c"]),
            r"ratings.weight: no column[\s\S]*ratings.context: no",
        ),
        (_ratings(label="rating >"), r"ratings.label: Parser Error"),
        (_ratings(label={"like": "stars"}), r"ratings.label.like: Binder Error.*stars"),
        (_ratings(time="member_id"), "ratings.time: .*VARCHAR, not unix seconds or a timestamp"),
        (make_task(statistics={"x": {"mean": "member_id"}}), "statistics.x.mean: .* is text"),
        (make_task(statistics={"x": {"count": "stars > 1"}}), "statistics.x.count: Binder Error"),
        (make_task(split={"by": "file", "column": "part"}), "split.column: no column 'part'"),
        (
            _ratings(label="rating"),
            "no answer knows any label of the data, such as '5'; .* like, d",
        ),
        (
            _ratings(negatives={"count": 1, "label": "lik"}),
            "ratings.negatives.label: no answer has the label 'lik'; did you mean 'like'",
        ),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path: Path, task: Task, message: str) -> None:
    _write(tmp_path)
    with pytest.raises(DataError, match=message):
        build(task, tmp_path)
    assert not (tmp_path / "out.parquet").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_every_broken_source_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        build(make_task(), tmp_path)
    assert re.findall(r"^(\S+):", str(error.value), re.M) == ["tables.items.path", "ratings.path"]


def test_empty_tables_and_invalid_text(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "items.csv").write_text("item_id,title\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"tables.items.path: the table is empty \(items.csv\)"):
        build(_items(path="items.csv"), tmp_path)
    (tmp_path / "items.csv").write_bytes(b"item_id,title\na,caf\xe9\nb,x\n")
    with pytest.raises(DataError, match=r"tables.items.path: .*UTF-8"):
        build(_items(path="items.csv"), tmp_path)


def test_mixed_line_endings_are_not_called_bad_text(tmp_path: Path) -> None:
    _write(tmp_path)
    lines = b"item_id,title\n" + b"a,A\n" * 50 + b"b,B\r\n,C\r\n"
    (tmp_path / "items.csv").write_bytes(lines)
    with pytest.raises(DataError) as error:
        build(_items(path="items.csv"), tmp_path)
    told = str(error.value)
    assert "line endings of two kinds" in told
    assert "utf-8" not in told.lower()
    assert "Candidates" not in told


def test_two_rows_of_one_item_are_refused(tmp_path: Path) -> None:
    rows = [{"item_id": i, "since": t} for i, t in [("a", 1), ("a", 2), ("b", 1)]]
    _write(tmp_path, rows)
    with pytest.raises(
        DataError, match=r"tables.items.key: several rows have one item_id: 'a' \(2"
    ):
        build(make_task(), tmp_path)
    timed = {"path": "items.parquet", "key": "item_id", "valid_from": "since"}
    _write(tmp_path, [*rows, rows[0]])
    with pytest.raises(DataError, match="one item_id and since: 'a'"):
        build(make_task(tables={"items": timed}), tmp_path)


@pytest.mark.long
def test_rows_without_keys_are_set_aside(tmp_path: Path) -> None:
    good = {"member_id": "m", "item_id": "a", "time": 1.0, "rating": 5}
    bad = [{**good, "member_id": None}, {**good, "item_id": None}, {**good, "time": float("nan")}]
    _write(tmp_path, [{"item_id": "a"}, {"item_id": None}], [good, *bad])
    made = build(make_task(), tmp_path)
    assert made.errors == {"null_key": 4}
    assert made.requests == {"all": 1}
    text = made.errors_path.read_text(encoding="utf-8")
    assert "a row has no time" in text
    assert text.count('"stage":"data"') == 4
    _write(tmp_path, None, bad)
    with pytest.raises(DataError, match="ratings: no row can be used: no item, no member, no time"):
        build(make_task(), tmp_path)


def test_nulls_nan_and_long_text_pass_on(tmp_path: Path) -> None:
    long = "x" * 100_000
    _write(tmp_path, [{"item_id": "a", "n": float("nan"), "none": None, "long": long}])
    candidate = next(iter(built(make_task(), tmp_path).values())).candidates[0]
    assert candidate.item.fields == {"item_id": "a", "n": None, "none": None, "long": long}


@pytest.mark.long
def test_an_unknown_item_makes_a_request_partial(tmp_path: Path) -> None:
    row = {"member_id": "m", "time": 1, "rating": 5}
    _write(tmp_path, None, [{**row, "item_id": i} for i in ("a", "zz")])
    (request,), _ = read(build(make_task(), tmp_path).path)
    assert [c.item.item_id for c in request.candidates] == ["a"]
    assert request.meta == {"partial": True, "lost": 1}
    _write(tmp_path, None, [{**row, "item_id": "zz"}])
    with pytest.raises(DataError) as error:
        build(make_task(), tmp_path)
    # The folder may be gone when this is read: the message says all.
    told = str(error.value)
    assert told.startswith("ratings: no request could be built; set aside: 1 x item_not_found, 1")
    assert re.search(r"such as: item zz is not in .*out\.errors\.jsonl", told)
    _write(tmp_path)
    task = make_task(split={"by": "last", "test": 1})
    with pytest.raises(DataError, match="no request of part train could be built; no row was set"):
        build(task, tmp_path, splits={"train"})


def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    _write(tmp_path)
    task = _items(path="hf://datasets/none/none/items.parquet")
    with pytest.raises(DataError, match=r"tables.items.path: .*(httpfs|hf://)"):
        build(task, tmp_path)


def test_offline_no_url_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTRANK_OFFLINE", "1")
    _write(tmp_path)
    with pytest.raises(DataError, match=r"tables.items.path: https://.* PROMPTRANK_OFFLINE is set"):
        build(_items(path="https://example.org/items.parquet"), tmp_path)


def test_columns_of_says_what_templates_may_show(tmp_path: Path) -> None:
    _write(tmp_path, [{"item_id": "a", "title": "A"}, {"item_id": "b", "title": None}])
    task = make_task(
        ratings=RATINGS | {"context": ["rating", "hour"]},
        statistics={"mean": {"mean": "rating"}, "of": {"of": "member", "count": True}},
    )
    supplied = columns_of(task, tmp_path)
    assert {k: list(v) for k, v in supplied.fields.items()} == {
        "item": ["item_id", "title"],
        "member": ["of"],
        "context": ["rating"],
        "event_context": ["rating"],
        "stats": ["mean"],
    }
    title = supplied.fields["item"]["title"]
    assert (title.type, title.nulls, title.rows) == ("VARCHAR", 1, 2)
    assert supplied.problems == (
        "ratings.context: no column 'hour' in ratings; there are: member_id, item_id, time, rating",
    )
