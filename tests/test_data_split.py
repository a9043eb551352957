"""Splits, limits, negatives and the order clock, by hand."""

from pathlib import Path
from typing import Any

import pytest

from promptrank.schema.task import Task
from promptrank.tables.negatives import draw
from support.data import build, built, make_task, read, write_rows


def _tables(root: Path) -> None:
    """Two members with a rating each second from 0 to 9; items a to j in turn."""
    items = "abcdefghij"
    write_rows(root / "items.parquet", [{"item_id": i} for i in items])
    write_rows(
        root / "ratings.parquet",
        [
            {"member_id": m, "item_id": items[t], "time": t, "rating": t % 5 + 1, "part": part}
            for m in ("m", "n")
            for t in range(10)
            for part in ["test" if t >= 8 else "other"]
        ],
    )


def _task(**parts: Any) -> Task:
    ratings = {
        "path": "ratings.parquet",
        "member": "member_id",
        "item": "items",
        "time": "time",
        "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
        "group": {"last": 1},
    }
    return make_task(**{"ratings": ratings, "history": None} | parts)


def _splits(task: Task, root: Path) -> dict[str, str | None]:
    return {name: r.split for name, r in built(task, root).items()}


def test_by_time_with_gaps(tmp_path: Path) -> None:
    _tables(tmp_path)
    split = {"by": "time", "test": "2s", "valid": "2s", "gap": "1s"}
    parts = _splits(_task(split=split), tmp_path)
    # The last request is at 9: test after 7, a gap at 7, valid at 5 and 6, a gap at 4.
    mine = {int(n.partition("@")[2]): s for n, s in parts.items() if n.startswith("m")}
    assert mine == {
        **dict.fromkeys(range(4), "train"),
        **dict.fromkeys((5, 6), "valid"),
        **dict.fromkeys((8, 9), "test"),
    }


def test_by_last(tmp_path: Path) -> None:
    _tables(tmp_path)
    parts = _splits(_task(split={"by": "last", "test": 1, "valid": 2}), tmp_path)
    assert {n for n, s in parts.items() if s == "test"} == {"m@9", "n@9"}
    assert {n for n, s in parts.items() if s == "valid"} == {"m@7", "m@8", "n@7", "n@8"}


def test_by_file_keeps_a_request_in_one_part(tmp_path: Path) -> None:
    _tables(tmp_path)
    task = _task(split={"by": "file", "column": "part"})
    made = build(task, tmp_path)
    assert made.requests == {"train": 16, "test": 4}
    # Test holds items i and j only, which no training request has; both members train.
    assert made.seen == {"subjects": 1.0, "items": 0.0}


def test_by_subject_is_a_share_of_subjects(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": "a"}])
    rows = [
        {"member_id": f"m{k}", "item_id": "a", "time": t, "rating": 5}
        for k in range(200)
        for t in range(2)
    ]
    write_rows(tmp_path / "ratings.parquet", rows)
    part_of = _splits(_task(split={"by": "subject", "test": 0.25}), tmp_path)
    parts: dict[str, set[str | None]] = {}
    for name, part in part_of.items():
        parts.setdefault(name.partition("@")[0], set()).add(part)
    assert all(len(p) == 1 for p in parts.values())
    assert 30 < sum(p == {"test"} for p in parts.values()) < 70


def test_limit_and_parts(tmp_path: Path) -> None:
    _tables(tmp_path)
    task = _task(split={"by": "last", "test": 2})
    made = build(task, tmp_path, limit=3)
    assert made.requests == {"train": 3, "test": 3}
    more = build(task, tmp_path, limit=4, splits={"test"}, out=tmp_path / "more.parquet")
    assert more.requests == {"test": 4}
    few = {r.request_id for r in read(made.path, splits={"test"})[0]}
    assert few < {r.request_id for r in read(more.path)[0]}


def test_negatives_are_recorded_and_never_known_items(tmp_path: Path) -> None:
    _tables(tmp_path)
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    negatives = {"count": 4, "label": "dislike", "seed": 3}
    requests = built(_task(ratings={**given, "negatives": negatives}), tmp_path)
    for name, request in requests.items():
        time = int(name.partition("@")[2])
        ids = [c.item.item_id for c in request.candidates]
        own = "abcdefghij"[time]
        assert own in ids
        assert ids == sorted(set(ids))
        # Items of the member's past are never drawn; later ones may be.
        assert not set(ids) & set("abcdefghij"[:time])
        got = min(4, 9 - time)
        assert len(ids) == 1 + got
        assert request.meta["negatives"] == {"sampler": "uniform", "wanted": 4, "got": got}
        others = [c for c in request.candidates if c.item.item_id != own]
        assert all(c.outcomes == {"like": "dislike"} for c in others)


def test_popular_draws_from_past_events_only(tmp_path: Path) -> None:
    items = "abcdefghij"
    write_rows(tmp_path / "items.parquet", [{"item_id": i} for i in items])
    rows = [
        {"member_id": f"x{k}", "item_id": "ab"[k % 5 == 0], "time": 0, "rating": 1}
        for k in range(50)
    ]
    rows += [{"member_id": f"y{k}", "item_id": "c", "time": 1, "rating": 1} for k in range(200)]
    rows += [{"member_id": f"z{k}", "item_id": "d", "time": 9, "rating": 1} for k in range(9)]
    write_rows(tmp_path / "ratings.parquet", rows)
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    negatives = {"count": 1, "label": "dislike", "sampler": "popular"}
    requests = built(_task(ratings={**given, "negatives": negatives}), tmp_path)

    def drawn(letter: str) -> list[str]:
        of = [r for n, r in requests.items() if n.startswith(letter)]
        return [c.item.item_id for r in of for c in r.candidates if c.item.item_id not in "d"]

    assert all(r.meta["negatives"]["got"] == 0 for n, r in requests.items() if n.startswith("x"))
    at_one = [i for i in drawn("y") if i != "c"]
    # At 1 there were 40 events of a and 10 of b.
    assert 0.7 < at_one.count("a") / len(at_one) < 0.9
    assert set(drawn("z")) <= {"a", "b", "c"}


@pytest.mark.parametrize(("size", "limit"), [(1, 1), (7, 7), (100, 30)])
def test_draws_never_repeat(size: int, limit: int) -> None:
    places = list(draw(size, 0, "r", limit))
    assert len(places) == limit == len(set(places))
    assert all(0 <= place < size for place in places)
    assert places == list(draw(size, 0, "r", limit))


def test_an_order_is_a_clock_without_ages(tmp_path: Path) -> None:
    _tables(tmp_path)
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    given = {k: v for k, v in given.items() if k != "time"} | {"order": "time"}
    task = _task(ratings=given, history={"last": 2})
    made = build(task, tmp_path)
    assert made.clock["clock"] == "order"
    requests, _ = read(made.path)
    last = next(r for r in requests if r.request_id == "m@9")
    assert [e.time for e in last.history] == [7.0, 8.0]
