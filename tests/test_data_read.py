"""Reading request files, and requests from plain dicts."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from promptrank.errors import DataError
from promptrank.records import Subject
from promptrank.requests.dicts import request_from_dict
from promptrank.requests.format import COLUMNS
from promptrank.requests.sampling import request_count, request_ids
from promptrank.requests.write import TableWriter, write_table
from support.data import Row, build, make_task, read, write_rows


def _jsonl(path: Path, rows: Sequence[Row | str]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _row(request: str, item: str, **more: Any) -> Row:
    return {"request_id": request, "item_id": item, "item": {"title": item.upper()}} | more


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
    (first, second), errors = read(path)
    assert not errors
    assert (first.subject.query, first.subject.subject_id) == ({"text": "red shoes"}, "red shoes")
    assert [(e.item.fields["title"], e.action, e.time) for e in first.history] == [
        ("Z", "like", 4.0)
    ]
    assert [c.candidate_id for c in first.candidates] == ["a", "b2"]
    assert first.candidates[1].context == {"km": 3}
    assert [dict(c.outcomes) for c in first.candidates] == [{"like": "like"}, {}]
    assert (second.subject.member_id, second.subject.member, second.split) == ("m", {}, "test")
    assert [r.request_id for r in read(path, splits={"test"})[0]] == ["q2"]


@pytest.mark.long
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
        ([{"request_id": "", "item_id": "a", "item": {}}], "null_key"),
        ([{"request_id": ["r"], "item_id": "a", "item": {}}], "bad_row"),
        (['{"request_id": "\\ud800", "item_id": "a", "item": {}}'], "bad_row"),
        ([_row("r", "a", item_id=["a"])], "bad_row"),
        ([_row("r", "a", candidate_id={})], "bad_row"),
        ([_row("r", "a", split=["test"])], "bad_row"),
        ([_row("r", "a", member_id=True)], "bad_row"),
        ([_row("r", "a", source_id=[1])], "bad_row"),
        ([_row("r", "a", position="top")], "bad_row"),
        ([_row("r", "a", position=1.5)], "bad_row"),
        ([_row("r", "a", propensity="rare")], "bad_row"),
        ([_row("r", "a", propensity=0)], "bad_row"),
        ([_row("r", "a", propensity=-0.25)], "bad_row"),
        ([_row("r", "a", propensity=1.0001)], "bad_row"),
        ([_row("r", "a", propensity=float("inf"))], "bad_row"),
        ([_row("r", "a", logged_score=True)], "bad_row"),
        ([_row("r", "a", weight="heavy")], "bad_row"),
        ([_row("r", "a", weight=-3)], "bad_row"),
        ([_row("r", "a", weight=float("inf"))], "bad_row"),
        ([_row("r", "a", weight=10**400)], "bad_row"),
        ([_row("r", "a", baseline={"mean": "x"})], "bad_row"),
        ([_row("r", "a", baseline=[1])], "bad_row"),
        ([_row("r", "a", time=float("-inf"))], "bad_row"),
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
    assert requests[0].meta == {"partial": True, "lost": 2}
    assert requests[1].meta == {}
    reasons = [(e.reason, e.request_id, e.candidate_id) for e in errors]
    assert reasons == [
        ("scattered", "r", "c"),
        ("bad_row", "r", "b"),
        ("duplicate_candidate", "r", "a"),
    ]


@pytest.mark.long
def test_rows_that_come_again_far_away_are_error_rows(tmp_path: Path) -> None:
    def rows(again: int) -> list[Row]:
        others = [_row(f"q{i}", "a") for i in range(5000)]
        return [_row("r", "a", split="test"), *others, *[_row("r", f"b{i}") for i in range(again)]]

    path = _jsonl(tmp_path / "r.jsonl", [*rows(2), _row("z", "a"), _row("r", "c")])
    requests, errors = read(path)
    names = [r.request_id for r in requests]
    assert (len(names), len(set(names)), names[0], names[-1]) == (5002, 5002, "r", "z")
    assert requests[0].meta == {}
    reasons = [(e.reason, e.request_id, e.candidate_id) for e in errors]
    assert reasons == [("scattered", "r", c) for c in ("b0", "b1", "c")]
    # Later rows may leave the split out, and are told all the same.
    requests, errors = read(path, splits={"test"})
    assert ([r.request_id for r in requests], len(errors)) == (["r"], 3)
    assert read(path, splits={"train"}) == ([], [])


def test_rows_without_a_request_id_do_not_part_a_request(tmp_path: Path) -> None:
    nameless = {"item_id": "x", "item": {}}
    rows: list[Row | str] = [_row("r", "a"), nameless, "oops", _row("r", "b")]
    requests, errors = read(_jsonl(tmp_path / "r.jsonl", rows))
    assert [[c.candidate_id for c in r.candidates] for r in requests] == [["a", "b"]]
    assert requests[0].meta == {}
    assert {(e.reason, e.request_id, e.candidate_id) for e in errors} == {
        ("null_key", None, "x"),
        ("bad_row", None, None),
    }


def test_whole_numbers_are_ids(tmp_path: Path) -> None:
    rows = [
        _row("7", "", item_id=5, member_id=8, source_id=4, source={"x": 1}, split=3),
        _row("", "6", request_id=7, candidate_id=9),
    ]
    (request,), errors = read(_jsonl(tmp_path / "r.jsonl", rows), splits={"3"})
    assert not errors
    assert (request.request_id, request.subject.member_id, request.split) == ("7", "8", "3")
    assert request.subject.source is not None
    assert request.subject.source.item_id == "4"
    assert [(c.candidate_id, c.item.item_id) for c in request.candidates] == [
        ("5", "5"),
        ("9", "6"),
    ]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_numbers_that_are_not_finite(tmp_path: Path, suffix: str) -> None:
    """NaN is null everywhere; an infinite measure is null, an infinite weight is a mistake."""
    inf, nan = float("inf"), float("nan")
    given = [
        {"propensity": nan, "logged_score": inf, "weight": nan, "position": 2.0},
        {"propensity": 1.0, "logged_score": nan, "weight": 2.0, "position": nan},
        {"propensity": 0.5, "logged_score": -1.0, "weight": inf, "position": 1.0},
    ]
    baseline = {"item_count": 3, "item_mean": nan, "member_mean": inf, "mean": 0.5}
    rows = [_row("r", f"i{k}", baseline=baseline, **row) for k, row in enumerate(given)]
    path = tmp_path / f"r.{suffix}"
    write_rows(path, rows) if suffix == "parquet" else _jsonl(path, rows)
    (request,), errors = read(path)
    numbers = [(c.propensity, c.logged_score, c.weight, c.position) for c in request.candidates]
    assert numbers == [(None, None, None, 2), (1.0, None, 2.0, None)]
    assert request.candidates[0].baseline == {
        "item_count": 3,
        "item_mean": None,
        "member_mean": None,
        "mean": 0.5,
    }
    assert [(e.candidate_id, e.message) for e in errors] == [("i2", "weight: inf is not finite")]
    assert request.meta == {"partial": True, "lost": 1}


def test_an_event_that_cannot_be_used_costs_only_the_event(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": "a", "title": "A"}])
    events: list[Any] = [
        {"item_id": "a", "action": "like", "time": 1},
        {"item_id": "gone", "action": "like", "time": 2},
        {"item_id": "a", "action": 5},
        {"item_id": "a", "itme": {}},
        {"item_id": "a", "time": "noon"},
        {"item_id": "a", "outcomes": {"like": ["like"]}},
        {"action": "like"},
        "a",
        {"item_id": "a", "time": 3},
    ]
    row = {"request_id": "r", "item_id": "a", "time": 9, "history": events, "meta": {"seed": 1}}
    (request,), errors = read(_jsonl(tmp_path / "r.jsonl", [row]), task=make_task(), root=tmp_path)
    assert [(e.item.item_id, e.time) for e in request.history] == [("a", 1.0), ("a", 3.0)]
    assert request.meta == {"seed": 1, "events_lost": 7}
    assert {(e.request_id, e.candidate_id) for e in errors} == {("r", None)}
    assert [e.reason for e in errors] == ["event_item_not_found"] + ["event_bad_row"] * 6
    assert errors[0].message == "history[1]: item gone is not in the items table"
    assert "history[2]: action: expected text, got int" in errors[1].message


def test_request_ids_survive_what_the_reader_survives(tmp_path: Path) -> None:
    rows: list[Row | str] = [
        _row("r1", "a", split="test"),
        "not json",
        "[1, 2]",
        {"item_id": "a", "split": "test"},
        _row("r2", "a", split="train"),
        _row("", "a", split="test", request_id=3),
        _row("r1", "b"),
        _row("ü", "a", split="test"),
        _row("bad", "a", split=["test"]),
    ]
    path = _jsonl(tmp_path / "r.jsonl", rows)
    names = ["r1", "r2", "3", "ü", "bad"]
    in_order = sorted(names, key=lambda n: hashlib.md5(n.encode()).hexdigest())
    assert request_ids(path) == in_order
    assert request_ids(path, limit=2) == in_order[:2]
    test = [n for n in in_order if n != "r2"]
    assert request_ids(path, {"test"}) == test
    requests, errors = read(path, splits={"test"})
    assert {r.request_id for r in requests} | {"bad"} == set(test)
    assert "bad" in {e.request_id for e in errors}
    # Parquet gives the same ids in the same order, and NULL is no id there either.
    plain = [{"request_id": n, "item_id": "a"} for n in [*names, None, "", "r1"]]
    assert request_ids(write_rows(tmp_path / "r.parquet", plain)) == in_order
    requests, errors = read(tmp_path / "r.parquet", task=make_task(), root=_items(tmp_path))
    assert {r.request_id for r in requests} == set(names)
    assert sorted(e.reason for e in errors) == ["null_key", "null_key", "scattered"]


def _items(root: Path) -> Path:
    write_rows(root / "items.parquet", [{"item_id": "a", "title": "A"}])
    return root


def test_outcomes_are_checked_against_the_task(tmp_path: Path) -> None:
    rows = [_row("r", "a", outcomes={"like": "lik"}), _row("r", "b", outcomes={"lke": "like"})]
    requests, errors = read(_jsonl(tmp_path / "r.jsonl", rows), task=make_task())
    assert [dict(c.outcomes) for c in requests[0].candidates] == [{}, {}]
    assert [e.reason for e in errors] == ["unknown_label"] * 2
    listed = [_row("r", "a", outcomes={"like": ["like"]})]
    for task in (make_task(), None):
        (request,), more = read(_jsonl(tmp_path / "s.jsonl", listed), task=task)
        assert dict(request.candidates[0].outcomes) == {}
        assert [e.message for e in more] == [
            "outcomes.like: expected the name of an answer, got list"
        ]
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
    # Facts that a database is asked for are asked of no file that is none.
    for facts in (request_ids, request_count):
        with pytest.raises(DataError, match=r"s\.parquet: column 'request_id' is int64, not text"):
            facts(path)
        with pytest.raises(DataError, match=r"r\.parquet: column 'item_id' is missing"):
            facts(write_rows(tmp_path / "r.parquet", [{"request_id": "1"}]))
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "none.parquet")
    (tmp_path / "t.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="not a parquet file"):
        read(tmp_path / "t.parquet")


@pytest.mark.long
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


class _Odd:
    """Like pandas' NA, which does not even say whether it equals itself."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise TypeError("boolean value is ambiguous")


def test_a_request_for_nobody() -> None:
    request = request_from_dict(
        {"candidates": [{"item": {"title": "A"}}], "history": [{"item": {"title": "B"}}]}
    )
    assert request.subject == Subject()
    assert [e.item.fields["title"] for e in request.history] == ["B"]


def test_numpy_values_become_plain() -> None:
    candidate = {
        "item_id": np.int32(5),
        "item": {"tags": np.array(["x", "y"]), "deep": {"v": [np.float32(0.5)]}},
        "position": np.int64(3),
        "logged_score": np.float64("inf"),
        "baseline": {"mean": np.float32(0.25)},
    }
    request = request_from_dict(
        {
            "request_id": np.int64(7),
            "time": np.float32(1.5),
            "member_id": np.str_("m"),
            "member": {"age": np.int64(30), "bio": np.float64("nan"), "vip": np.bool_(True)},
            "candidates": [candidate],
        }
    )
    first = request.candidates[0]
    plain = [
        request.request_id,
        request.time,
        request.subject.member_id,
        request.subject.member,
        first.item.fields,
    ]
    # As JSON, where numpy's own types cannot pass for plain ones.
    assert json.loads(json.dumps(plain)) == [
        "7",
        1.5,
        "m",
        {"age": 30, "bio": None, "vip": True},
        {"tags": ["x", "y"], "deep": {"v": [0.5]}},
    ]
    assert (first.item.item_id, first.position, first.logged_score) == ("5", 3, None)
    assert first.baseline == {"mean": 0.25}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": []}, "candidates: expected a list of at least one"),
        ({"candidates": [{"item": {}}, {"item": "x"}]}, r"candidates\[1\].item: expected a dict"),
        ({"candidates": [{"title": "x"}]}, r"candidates\[0\]: no key 'title'"),
        ({"candidates": [{"item_id": "x"}]}, r"candidates\[0\].item: missing"),
        ({"candidates": [{"item": {}, "item_id": "x"}] * 2}, "'x' stands twice"),
        ({"candidats": []}, "no key 'candidats'; did you mean 'candidates'"),
        ({"member": {"bio": np.array(["2020"], "M8[D]")}}, r"member\.bio: datetime64\[D\] is no"),
        ({"time": np.array([1.0, 2.0])}, "time: expected a number, got list"),
        ({"time": float("inf")}, "time: inf is not finite"),
        ({"history": np.array([1])}, "history: expected a list, got ndarray"),
        ({"candidates": [{"item": {}, "weight": -1}]}, r"candidates\[0\]\.weight: -1 is less"),
        ({"candidates": [{"item": {"x": _Odd()}}]}, r"candidates\[0\]\.item\.x: _Odd is no plain"),
        (
            {"candidates": [{"item": {}, "outcomes": {"like": [1]}}]},
            r"candidates\[0\]\.outcomes\.like: expected text, got list",
        ),
        ({"history": [{"item": {}, "time": 5}], "time": 5}, r"history\[0\].time: 5 is not before"),
        ({"time": "now"}, "time: expected unix seconds, got 'now'"),
    ],
)
def test_a_dict_that_is_no_request(change: Row, message: str) -> None:
    given = {"query": "x", "candidates": [{"item": {"title": "A"}}]}
    with pytest.raises(DataError, match=message):
        request_from_dict(given | change)


def test_the_documentation_names_every_column() -> None:
    page = Path(__file__).parent.parent / "docs" / "reference" / "requests.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in COLUMNS if f"`{name}`" not in text] == []


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_each_row_is_a_candidate_or_one_of_the_rows_that_error_rows_count(
    tmp_path: Path, suffix: str, seed: int
) -> None:
    random = Random(seed)
    faults: list[Row] = [
        {"weight": -1.0},
        {"item_id": None},
        {"request_id": None},
        {"candidate_id": "twice"},
        {"split": "test", "history": [{"item_id": "z", "item": {"title": "Z"}, "time": 9.0}]},
        {"history": [{"item_id": None, "item": {"title": "Z"}, "time": 1.0}]},
        {"outcomes": {"like": "perhaps"}},
    ]
    rows: list[Row | str] = []
    for name in [*map(str, range(6)), "0"]:  # the last stands where it does not belong
        for item in "abc"[: random.randint(1, 3)]:
            more = random.choice(faults) if random.random() < 0.6 else {}
            rows.append(_row(name, item, time=5.0, member_id="m") | more)
            if suffix == ".jsonl" and random.random() < 0.2:
                rows.append(random.choice(['{"request_id": "3", "it', "[1]", "no json"]))
    path = tmp_path / f"requests{suffix}"
    if suffix == ".jsonl":
        _jsonl(path, rows)
    else:
        plain = [row for row in rows if not isinstance(row, str)]
        write_table(path, plain, pa.Table.from_pylist(plain).schema)
    requests, errors = read(path)
    assert sum(len(r.candidates) for r in requests) + sum(e.rows for e in errors) == len(rows)
