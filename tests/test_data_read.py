"""Reading request files, and requests from plain dicts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from data_fixtures import Row, build, make_task, read, write_rows
from promptrank.data.format import COLUMNS
from promptrank.data.plain import request_from_dict
from promptrank.data.write import TableWriter, write_table
from promptrank.errors import DataError


def _jsonl(path: Path, rows: Sequence[Row | str]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _row(request: str, item: str, **more: Any) -> Row:
    return {"request_id": request, "item_id": item, "item": {"title": item.upper()}, **more}


def test_a_hand_written_file(tmp_path: Path) -> None:
    events = [{"item_id": "z", "item": {"title": "Z"}, "action": "like", "time": 4}]
    path = _jsonl(
        tmp_path / "r.jsonl",
        [
            _row("q1", "a", query="red shoes", time=5, history=events, outcomes={"like": "like"}),
            _row("q1", "b", candidate_id="b2", context={"km": 3}, outcomes={"like": None}),
            _row("q2", "a", member_id="m", split="test"),
        ],
    )
    (one, two), errors = read(path)
    assert not errors
    assert (one.subject.query, one.subject.subject_id) == ({"text": "red shoes"}, "red shoes")
    assert [(e.item.fields["title"], e.action, e.time) for e in one.history] == [("Z", "like", 4.0)]
    assert [c.candidate_id for c in one.candidates] == ["a", "b2"]
    assert one.candidates[1].context == {"km": 3}
    assert [dict(c.outcomes) for c in one.candidates] == [{"like": "like"}, {}]
    assert (two.subject.member_id, two.subject.member, two.split) == ("m", {}, "test")
    assert [r.request_id for r in read(path, splits={"test"})[0]] == ["q2"]


def test_parquet_and_jsonl_of_one_build_read_alike(tmp_path: Path) -> None:
    items = [{"item_id": i, "year": None, "tags": ["x", i], "score": float("nan")} for i in "abc"]
    write_rows(tmp_path / "items.parquet", items)
    rows = [
        {"member_id": m, "item_id": i, "time": t, "rating": t}
        for m in "mn"
        for t, i in enumerate("abcab")
    ]
    write_rows(tmp_path / "ratings.parquet", rows)
    task = make_task(statistics={"mean": {"mean": "rating"}})
    (tmp_path / "j").mkdir()
    paths = [tmp_path / "out.parquet", tmp_path / "j" / "out.jsonl"]
    made = [read(build(task, tmp_path, out=path).path, task=task) for path in paths]
    assert made[0] == made[1]
    item = made[0][0][0].candidates[0].item
    assert item.fields == {"item_id": "a", "year": None, "tags": ["x", "a"], "score": None}
    # One row of the snapshot is one object, and equal keys vouch for equal fields.
    again = [c.item for r in made[0][0] for c in r.candidates if c.item.item_id == "a"]
    assert {i.key for i in again} == {item.key}
    assert item.key is not None


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (['{"request_id": "r", '], "bad_row"),
        (["[1]"], "bad_row"),
        ([{"request_id": "r", "item_id": None, "item": {}}], "null_key"),
        ([{"request_id": None, "item_id": "a", "item": {}}], "null_key"),
        (
            [_row("r", "a", history=[{"item_id": "b", "item": {}, "time": 5}], time=5)],
            "future_history",
        ),
        ([_row("r", "a", history=[{"item_id": "b", "itme": {}}])], "bad_row"),
        ([_row("r", "a", history="b")], "bad_row"),
        ([_row("r", "a", time="yesterday")], "bad_row"),
        ([_row("r", "a", context=[1])], "bad_row"),
        ([_row("r", "a", member="Ann")], "bad_row"),
        ([{"request_id": "r", "item_id": "a", "item": "Title"}], "bad_row"),
    ],
)
def test_one_bad_row_never_ends_the_file(tmp_path: Path, rows: list[Any], reason: str) -> None:
    path = _jsonl(tmp_path / "r.jsonl", [*rows, _row("good", "a")])
    requests, errors = read(path)
    assert [r.request_id for r in requests] == ["good"]
    assert errors[0].reason == reason
    assert errors[0].stage == "data"


def test_lost_candidates_make_a_request_partial(tmp_path: Path) -> None:
    rows = [
        _row("r", "a"),
        {**_row("r", "b"), "item": 3},
        _row("r", "a"),
        _row("s", "a"),
        _row("r", "c"),
    ]
    requests, errors = read(_jsonl(tmp_path / "r.jsonl", rows))
    assert [r.request_id for r in requests] == ["r", "s"]
    assert [c.candidate_id for c in requests[0].candidates] == ["a"]
    assert requests[0].meta == {"partial": True, "lost": 1}
    assert requests[1].meta == {}
    reasons = [e.reason for e in errors]
    assert reasons == ["bad_row", "duplicate_candidate", "scattered_request"]


def test_outcomes_are_checked_against_the_task(tmp_path: Path) -> None:
    rows = [_row("r", "a", outcomes={"like": "lik"}), _row("r", "b", outcomes={"lke": "like"})]
    requests, errors = read(_jsonl(tmp_path / "r.jsonl", rows), task=make_task())
    assert [dict(c.outcomes) for c in requests[0].candidates] == [{}, {}]
    assert [e.reason for e in errors] == ["unknown_label"] * 2
    assert "did you mean 'like'?" in errors[0].message


def test_items_by_id_come_from_the_task_s_table(tmp_path: Path) -> None:
    versions = [("a", 0, "old"), ("a", 10, "new"), ("b", 5, "b")]
    rows = [{"item_id": i, "since": t, "title": x} for i, t, x in versions]
    write_rows(tmp_path / "items.parquet", rows)
    table = {"path": "items.parquet", "key": "item_id", "valid_from": "since"}
    task = make_task(tables={"items": table})
    wanted = [
        {"request_id": "at 10", "item_id": "a", "time": 10},
        {"request_id": "at 11", "item_id": "a", "time": 11},
        {"request_id": "at 5", "item_id": "b", "time": 5},
    ]
    path = _jsonl(tmp_path / "r.jsonl", wanted)
    requests, errors = read(path, task=task, root=tmp_path)
    titles = {r.request_id: r.candidates[0].item.fields["title"] for r in requests}
    # What begins to hold at the request's time was not known before it.
    assert titles == {"at 10": "old", "at 11": "new"}
    assert [e.reason for e in errors] == ["item_not_found", "no_candidates"]
    with pytest.raises(DataError, match=r"neither with the rows nor as r\.items\.arrow"):
        read(path)


def test_columns_are_checked(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "r.jsonl", [_row("r", "a", outcome={})])
    with pytest.raises(
        DataError, match=r"r\.jsonl:1: no column 'outcome'; did you mean 'outcomes'"
    ):
        read(path)
    path = write_rows(tmp_path / "r.parquet", [{"request_id": 1, "itemid": "a"}])
    with pytest.raises(DataError, match=r"no column 'itemid'.*\n.*'item_id' is missing"):
        read(path)
    path = write_rows(tmp_path / "s.parquet", [{"request_id": 1, "item_id": "a", "history": "x"}])
    with pytest.raises(DataError, match=r"'request_id' is int64, not text\n.*'history' is string"):
        read(path)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.parquet")
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="not a parquet file"):
        read(tmp_path / "t.parquet")


def test_the_snapshot_must_be_the_one_it_was_built_with(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": "a", "title": "A"}])
    row = {"member_id": "m", "item_id": "a", "time": 1, "rating": 1}
    write_rows(tmp_path / "ratings.parquet", [row])
    made = build(make_task(), tmp_path)
    write_rows(tmp_path / "items.parquet", [{"item_id": "a", "title": "B"}])
    other = build(make_task(), tmp_path, out=tmp_path / "other.parquet")
    made.items_path.write_bytes(other.items_path.read_bytes())
    with pytest.raises(DataError, match="not the items that"):
        read(made.path)
    made.items_path.unlink()
    with pytest.raises(DataError, match="keep them together"):
        read(made.path)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(RuntimeError), TableWriter(path) as writer:
        writer.write_rows([{"a": 1}])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    assert write_table(path, [{"a": "\ud800 é", "b": None}]) == 1
    assert path.read_bytes() == '{"a":"\\ud800 é"}\n'.encode()
    with pytest.raises(DataError, match="end the name in"):
        TableWriter(tmp_path / "rows.csv")


def test_five_lines_of_python() -> None:
    request = request_from_dict(
        {
            "query": "red shoes",
            "candidates": [{"item": {"title": "Red"}}, {"item_id": 7, "item": {"title": "Blue"}}],
        }
    )
    assert request.subject.query == {"text": "red shoes"}
    assert [c.candidate_id for c in request.candidates] == ["item-1", "7"]
    member = request_from_dict(
        {
            "member": {"name": "Ann"},
            "time": 9,
            "history": [
                {"item": {"title": "B"}, "action": "like", "time": 5},
                {"item": {"title": "A"}, "action": "like", "time": 2},
            ],
            "candidates": [
                {"item": {"title": "C", "item_id": "c"}, "context": {"km": float("nan")}}
            ],
        }
    )
    assert [e.item.fields["title"] for e in member.history] == ["A", "B"]
    assert member.candidates[0].candidate_id == "c"
    assert member.candidates[0].context == {"km": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": []}, "candidates: expected a list of at least one"),
        ({"candidates": [{"item": {}}, {"item": "x"}]}, r"candidates\[1\].item: expected a dict"),
        ({"candidates": [{"title": "x"}]}, r"candidates\[0\]: no key 'title'"),
        ({"candidates": [{"item_id": "x"}]}, r"candidates\[0\].item: missing"),
        ({"candidates": [{"item": {}, "item_id": "x"}] * 2}, "'x' stands twice"),
        ({"candidats": []}, "no key 'candidats'; did you mean 'candidates'"),
        ({"query": None}, "say whom it is for"),
        ({"history": [{"item": {}, "time": 5}], "time": 5}, r"history\[0\].time: 5 is not before"),
        ({"time": "now"}, "time: expected a number, got str"),
    ],
)
def test_a_dict_that_is_no_request(change: Row, message: str) -> None:
    given = {"query": "x", "candidates": [{"item": {"title": "A"}}]}
    with pytest.raises(DataError, match=message):
        request_from_dict(given | change)


def test_the_documentation_names_every_column() -> None:
    page = Path(__file__).parent.parent / "docs" / "requests.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in COLUMNS if f"`{name}`" not in text] == []
