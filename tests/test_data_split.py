"""Splits, limits, negatives and the order clock, by hand."""

import random
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from promptrank.errors import DataError
from promptrank.schema.splitting import Split
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


@pytest.mark.long
@pytest.mark.parametrize("gap", ["0s", "1s"])
def test_what_lies_in_a_gap_trains_nothing_and_is_known_all_the_same(
    gap: str, tmp_path: Path
) -> None:
    _tables(tmp_path)
    statistics = {"met": {"of": "member", "count": True}}
    split = {"by": "time", "test": "2s", "gap": gap}
    task = _task(split=split, history={"last": 20}, statistics=statistics)
    requests = built(task, tmp_path)
    test = requests["m@8"]
    # As of 8 the rows from 0 to 7 are history and are counted, in a gap or not.
    assert [event.time for event in test.history] == list(range(8))
    assert test.subject.member == {"met": 8}
    trained = {r.time for r in requests.values() if r.split == "train"}
    assert trained == set(range(8 - int(gap[0])))
    notes = build(task, tmp_path).notes
    assert ("2 requests fall into gaps between the parts and are left out" in notes) == (gap > "0s")


def test_a_gap_that_leaves_nothing_to_train(tmp_path: Path) -> None:
    _tables(tmp_path)
    with pytest.raises(DataError, match=r"split.gap: 1 days leave no request to train"):
        build(_task(split={"by": "time", "test": "2s", "gap": "1d"}), tmp_path)


def _shelves(root: Path, **version: Any) -> None:
    """Members m to q rate the items a to j from 0 to 19; a to e are books, f and g have toys."""
    kinds = [*["books"] * 5, "toys", "toys", "music", None, "music"]
    items = [{"item_id": i, "kind": k, **version} for i, k in zip("abcdefghij", kinds, strict=True)]
    write_rows(root / "items.parquet", items)
    rng = random.Random(7)
    rows = [
        {"member_id": m, "item_id": i, "time": t, "rating": rng.randint(1, 5)}
        for m in "mnopq"
        for t, i in enumerate(rng.sample("abcdefghij" * 2, 20))
    ]
    write_rows(root / "ratings.parquet", rows)


HELD = {"by": "field", "field": "item.kind", "test": "toys", "valid": ["music"]}


@pytest.mark.long
@pytest.mark.parametrize(
    "history", [{"last": 9}, {"last": 9, "as": "turns"}, {"last": 9, "at_most": {"like": 8}}]
)
def test_a_domain_that_is_held_out_never_trains(history: dict[str, Any], tmp_path: Path) -> None:
    _shelves(tmp_path)
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    given |= {"group": {"last": 2}, "negatives": {"count": 2, "label": "dislike"}}
    made = build(_task(split=HELD, ratings=given, history=history), tmp_path)
    requests, _ = read(made.path)
    own = {"train": "abcde", "valid": "hj", "test": "fg"}
    seen = {"train": "abcde", "valid": "abcdehj", "test": "abcdefghij"}
    met = {part: set[str]() for part in own}
    for request in requests:
        part = request.split or ""
        assert {c.item.item_id for c in request.candidates} <= set(own[part])
        met[part] |= {event.item.item_id for event in request.history}
    assert {r.split for r in requests} == set(own)
    for part, items in met.items():
        assert items <= set(seen[part])
        assert set(own["train"]) <= items  # the rest of the history is there
    assert met["test"] & set("fg") and met["valid"] & set("hj")
    assert any("have no item.kind and are left out" in note for note in made.notes)


@pytest.mark.long
def test_a_row_s_own_column_and_members_may_be_held_out(tmp_path: Path) -> None:
    _tables(tmp_path)
    split: dict[str, Any] = {"by": "field", "field": "context.part", "test": ["test"]}
    assert build(_task(split=split), tmp_path).requests == {"train": 16, "test": 4}
    write_rows(tmp_path / "members.parquet", [{"member_id": m, "land": m == "n"} for m in "mn"])
    tables = {
        "items": {"path": "items.parquet", "key": "item_id"},
        "members": {"path": "members.parquet", "key": "member_id"},
    }
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    split = {"by": "field", "field": "member.land", "test": True}
    task = _task(tables=tables, ratings={**given, "member": "members"}, split=split)
    assert {n[0]: part for n, part in _splits(task, tmp_path).items()} == {
        "m": "train",
        "n": "test",
    }


@pytest.mark.long
@pytest.mark.parametrize(
    ("values", "test", "held"),
    [
        (["2.0", "v1.0", "2", "v1"], ["2.0", "v1.0"], "ab"),
        ([2.0, 2.5, 20.0, 2.0], 2, "ad"),
        ([2, 3, 20, 2], [2.0], "ad"),
        ([Decimal(n) for n in ("2.50", "2.00", "25.00", "3.00")], [2.5, 2.0], "ab"),
    ],
)
def test_texts_are_held_out_as_written_and_numbers_as_numbers(
    values: list[Any], test: Any, held: str, tmp_path: Path
) -> None:
    _tables(tmp_path)
    kinds = zip("abcdefghij", [*values, *[values[2]] * 6], strict=True)
    write_rows(tmp_path / "items.parquet", [{"item_id": i, "kind": k} for i, k in kinds])
    made = built(_task(split={"by": "field", "field": "item.kind", "test": test}), tmp_path)
    of = {part: set[str]() for part in ("train", "test")}
    for request in made.values():
        of[request.split or ""] |= {c.item.item_id for c in request.candidates}
    assert of["test"] == set(held) and of["train"] == set("abcdefghij") - set(held)


def test_an_item_that_was_ever_held_out_stays_so(tmp_path: Path) -> None:
    _tables(tmp_path)
    kinds = [("a", 0, "toys"), ("a", 5, "books"), *((i, 0, "books") for i in "bcdefghij")]
    versions = [{"item_id": i, "since": t - 1, "kind": kind} for i, t, kind in kinds]
    write_rows(tmp_path / "items.parquet", versions)
    items = {"path": "items.parquet", "key": "item_id", "valid_from": "since"}
    split = {"by": "field", "field": "item.kind", "test": "toys"}
    parts = _splits(_task(tables={"items": items}, split=split), tmp_path)
    assert {name for name, part in parts.items() if part == "test"} == {"m@0", "n@0"}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"test": ["toy"]}, "split.test: nothing has the value 'toy' of item.kind; did you mean"),
        (
            {"field": "item.kin"},
            "split.field: no column 'kin' in tables.items; did you mean 'kind'",
        ),
        ({"field": "item.list"}, "split.field: item.list holds lists"),
        ({"field": "context.kind"}, "split.field: no column 'kind' in ratings"),
    ],
)
def test_a_domain_that_is_not_there(split: dict[str, Any], message: str, tmp_path: Path) -> None:
    _shelves(tmp_path, list=["x"])
    with pytest.raises(DataError, match=message):
        build(_task(split=HELD | split), tmp_path)


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


@pytest.mark.long
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


@pytest.mark.long
def test_limit_and_parts(tmp_path: Path) -> None:
    _tables(tmp_path)
    task = _task(split={"by": "last", "test": 2})
    made = build(task, tmp_path, limit=3)
    assert made.requests == {"train": 3, "test": 3}
    more = build(task, tmp_path, limit=4, splits={"test"}, out=tmp_path / "more.parquet")
    assert more.requests == {"test": 4}
    few = {r.request_id for r in read(made.path, splits={"test"})[0]}
    assert few < {r.request_id for r in read(more.path)[0]}


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


def _blocks(last: int, **split: Any) -> Task:
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    return _task(ratings={**given, "group": {"last": last}}, split={"by": "time", **split})


def _times(task: Task, root: Path) -> dict[str, tuple[str | None, str]]:
    """Request -> its part, and its candidates, which are called a, b, ... by their seconds."""
    return {
        name: (r.split, "".join(c.candidate_id for c in r.candidates))
        for name, r in built(task, root).items()
        if name.startswith("m")
    }


@pytest.mark.long
def test_blocks_are_cut_where_a_part_begins(tmp_path: Path) -> None:
    _tables(tmp_path)
    # Seconds 0 to 9 in blocks of four, counted back from the end of each part.
    task = _blocks(4, at=7, valid_at=5)
    assert _times(task, tmp_path) == {
        "m@0": ("train", "a"),
        "m@1": ("train", "bcde"),
        "m@5": ("valid", "fg"),
        "m@7": ("test", "hij"),
    }
    made = build(task, tmp_path)
    # The blocks at 5 and 7 are short since a boundary cut them; n has the same.
    assert made.cut == 4
    assert "4 requests were cut at a boundary between the parts" in made.notes


@pytest.mark.long
def test_a_gap_counts_from_the_last_label(tmp_path: Path) -> None:
    _tables(tmp_path)
    # Nothing of the last second before a part: 6 lies within a second of 7, 4 within one of 5.
    assert _times(_blocks(4, at=7.5, valid_at=5, gap="1s"), tmp_path) == {
        "m@0": ("train", "abcd"),
        "m@5": ("valid", "fg"),
        "m@8": ("test", "ij"),
    }
    lengths = _times(_blocks(4, test="2s", valid="2s", gap="1s"), tmp_path)
    assert [r for r in lengths.values()] == [("train", "abcd"), ("valid", "fg"), ("test", "ij")]


@pytest.mark.long
def test_sessions_are_cut_and_counted(tmp_path: Path) -> None:
    _tables(tmp_path)
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    task = _task(ratings={**given, "group": {"session": "1s"}}, split={"by": "time", "at": 6})
    assert _times(task, tmp_path) == {"m@0": ("train", "abcdef"), "m@6": ("test", "ghij")}
    assert build(task, tmp_path).cut == 2


@pytest.mark.long
def test_a_member_is_not_in_training_for_its_later_rows(tmp_path: Path) -> None:
    _tables(tmp_path)
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    few = {**given, "group": {"last": 4, "at_least": 6}}
    # Five rows by second 5 are too few to train; all ten are enough to test.
    task = _task(ratings=few, split={"by": "time", "at": 5})
    assert build(task, tmp_path).requests == {"test": 4}
    assert "no request falls into train" in build(task, tmp_path).notes[-1]


@pytest.mark.long
def test_a_query_on_both_sides_makes_two_requests(tmp_path: Path) -> None:
    _tables(tmp_path)
    judged = {
        "path": "ratings.parquet",
        "query": "member_id",
        "item": "items",
        "time": "time",
        "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
    }
    task = _task(ratings=None, judgements=judged, split={"by": "time", "at": 8, "valid_at": 7})
    assert _times(task, tmp_path) == {
        "m": ("train", "abcdefg"),
        "m#valid": ("valid", "h"),
        "m#test": ("test", "ij"),
    }
    assert build(task, tmp_path).cut == 4
    # Another query may not be called like what was cut off.
    rows = [
        {"member_id": m, "item_id": "a", "time": t, "rating": 5}
        for m, t in (("m", 1), ("m", 9), ("m#test", 9))
    ]
    write_rows(tmp_path / "ratings.parquet", rows)
    with pytest.raises(DataError, match="judgements: 'm#test' is the name of a request, and also"):
        build(task, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("window", ["3s", None])
def test_outcomes_of_a_later_part_are_no_labels(window: str | None, tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": "a"}])
    shown = [{"request": f"r{t}", "item_id": "a", "time": t, "member_id": "m"} for t in range(10)]
    write_rows(tmp_path / "shown.parquet", shown)
    acts = [{"request": f"r{t}", "item_id": "a", "at": t + 2, "what": "like"} for t in range(10)]
    write_rows(tmp_path / "acts.parquet", acts)
    outcomes = {
        "path": "acts.parquet",
        "key": ["request", "item_id"],
        "label": "what",
        "time": "at",
        "within": window,
        "none": "dislike",
    }
    requests = {
        "path": "shown.parquet",
        "id": "request",
        "time": "time",
        "subject": {"member": "member_id"},
        "candidate": {"item": "items"},
    }
    task = _task(
        ratings=None,
        requests=requests,
        outcomes={k: v for k, v in outcomes.items() if v is not None},
        split={"by": "time", "at": 7},
    )
    made = built(task, tmp_path)
    labels = {n: r.candidates[0].outcomes.get("like") for n, r in made.items() if r.split != "test"}
    if window is not None:
        # What is known before 7: the windows of what was shown before 4.
        assert labels == {f"r{t}": "like" for t in range(4)}
    else:
        # Without a window all train, and what happened from 7 on has not happened for them.
        assert labels == {f"r{t}": "like" if t < 5 else "dislike" for t in range(7)}


@pytest.mark.long
def test_a_file_to_hold_out(tmp_path: Path) -> None:
    _tables(tmp_path)
    given = _task().model_dump(mode="json", by_alias=True, exclude_none=True)["ratings"]
    rows = [{"member_id": "m", "item_id": "c", "time": t, "rating": 5} for t in (20, 1)]
    write_rows(tmp_path / "holdout.parquet", rows)
    both = {**given, "path": ["ratings.parquet", "holdout.parquet"]}
    task = _task(ratings=both, history={"last": 2}, split={"by": "file", "test": "holdout.parquet"})
    made = build(task, tmp_path)
    assert made.requests == {"train": 20, "test": 2}
    assert any(
        n.startswith("1 rows that are held out lie before training rows") for n in made.notes
    )
    assert built(task, tmp_path)["m@20"].split == "test"
    with pytest.raises(ValidationError, match=r"split\.test: 'hold\.parquet' is none"):
        _task(ratings=both, split={"by": "file", "test": "hold.parquet"})


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("2020-08-25", 1598313600.0),
        (date(2020, 8, 25), 1598313600.0),
        ("2020-08-25 12:00", 1598356800.0),
        ("2020-08-25T12:00:00+02:00", 1598349600.0),
        (datetime(2020, 8, 25, 12), 1598356800.0),
        (1598313600, 1598313600.0),
    ],
)
def test_a_moment_is_a_date_or_a_number(given: Any, seconds: float) -> None:
    split = Split.model_validate({"by": "time", "at": given})
    assert split.at == seconds
    assert Split.model_validate(split.model_dump(exclude_none=True)) == split


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"at": "2020-08-32"}, "'2020-08-32' is none of them"),
        ({"test": "7d", "gap": "-1d"}, "gap\\n  Value error, expected a duration"),
        ({"by": "subject", "test": 0.2, "gap": "1d"}, "gap: goes with by: time"),
        ({"test": "7d", "field": "item.kind"}, "field: goes with by: field"),
        ({"by": "field", "test": ["a"]}, r"by field needs field, one of item\.NAME"),
        ({"by": "field", "field": "stats.x", "test": ["a"]}, "by field needs field, one of"),
        ({"by": "field", "field": "item.kind"}, "test is missing: how much.*a list of its values"),
        ({"by": "field", "field": "item.kind", "test": []}, "test: by field expects values"),
        (
            {"by": "field", "field": "item.kind", "test": ["a"], "valid": "a"},
            "valid: 'a' is held out as test already",
        ),
        ({"at": "soon"}, "expected a date such as 2020-08-25"),
        ({"at": 20200825}, "write the date as 2020-08-25"),
        ({"at": 1598313600000}, "milliseconds"),
        ({"at": float("nan")}, "beyond"),
        ({"at": True}, "expected a date"),
        ({"at": 10**5000}, "beyond the year 5000"),
        ({"at": 7, "test": "7d"}, r"not both \(found at and test\)"),
        ({"at": 7, "valid": "7d"}, r"not both \(found at and valid\)"),
        ({"test": "7d", "valid_at": 7}, r"not both \(found valid_at and test\)"),
        ({"valid_at": 7}, "valid_at: needs at"),
        ({"at": 7, "valid_at": 7}, "valid_at: must lie before at"),
        ({"by": "last", "test": 1, "at": 7}, "at: goes with by: time"),
        ({}, "test is missing: how much to hold out, or `at`: from when on"),
        ({"by": "file"}, "by file needs column"),
        ({"by": "file", "test": "a.csv", "valid": "a.csv"}, "valid: is the same file as test"),
    ],
)
def test_splits_that_say_too_much_or_too_little(split: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Split.model_validate({"by": "time", **split})
