"""Impressions with outcomes: labels, windows, and when they were known."""

from pathlib import Path
from typing import Any

import pytest

from promptrank.records import Request
from promptrank.schema.task import Task
from support.data import Row, build, built, make_task, read, write_rows

DAY = 86400
APPLY = {"apply": {"say": "Yes", "value": 1}, "skip": {"say": "No", "value": 0}}
VIEW = {
    "view": {"say": "Yes", "value": 1, "labels": ["view", "apply"]},
    "skip": {"say": "No", "value": 0},
}


def _task(**parts: Any) -> Task:
    given: dict[str, Any] = {
        "ratings": None,
        "requests": {
            "path": "shown.parquet",
            "id": "request",
            "time": "time",
            "subject": {"member": "member_id"},
            "candidate": {"id": "imp", "item": "items", "position": "rank", "context": ["km"]},
        },
        "outcomes": {
            "path": "actions.parquet",
            "key": ["request", "imp"],
            "label": "action",
            "time": "at",
            "within": "7d",
            "none": "skip",
        },
        "questions": {"apply": {"answers": APPLY}, "view": {"answers": VIEW}},
        "score": "0.8*apply + 0.2*view",
        "history": {"last": 9},
    }
    return make_task(**given | parts)


def _shown(*rows: tuple[str, int, str, str]) -> list[Row]:
    return [
        {
            "request": r,
            "member_id": "m",
            "time": day * DAY,
            "imp": imp,
            "item_id": item,
            "rank": k + 1,
            "km": float(k),
        }
        for k, (r, day, imp, item) in enumerate(rows)
    ]


def _write(root: Path, shown: list[Row], actions: list[tuple[str, str, str, float]]) -> None:
    write_rows(root / "items.parquet", [{"item_id": i} for i in "abcd"])
    write_rows(root / "shown.parquet", shown)
    names = ("request", "imp", "action", "at")
    rows = [dict(zip(names, (r, i, a, day * DAY), strict=True)) for r, i, a, day in actions]
    write_rows(root / "actions.parquet", rows)


def _outcomes(request: Request) -> dict[str, dict[str, str]]:
    return {c.candidate_id: dict(c.outcomes) for c in request.candidates}


@pytest.mark.long
def test_labels_by_question_window_and_priority(tmp_path: Path) -> None:
    shown = _shown(
        ("r1", 1, "i1", "a"), ("r1", 1, "i2", "b"), ("r1", 1, "i3", "c"), ("r9", 20, "i9", "a")
    )
    _write(
        tmp_path,
        shown,
        [
            ("r1", "i1", "view", 1.5),
            ("r1", "i1", "apply", 8.0),  # the last moment of the window
            ("r1", "i2", "view", 2.0),
            ("r1", "i2", "apply", 8.5),  # too late
            ("r1", "i3", "apply", 0.5),  # before it was shown
            ("r9", "i9", "apply", 21.0),  # younger than the window
        ],
    )
    requests = built(_task(), tmp_path)
    assert _outcomes(requests["r1"]) == {
        "i1": {"apply": "apply", "view": "view"},
        "i2": {"apply": "skip", "view": "view"},
        "i3": {"apply": "skip", "view": "skip"},
    }
    assert _outcomes(requests["r9"]) == {"i9": {}}
    first = requests["r1"].candidates[0]
    assert (first.position, first.context, first.item.item_id) == (1, {"km": 0.0}, "a")


@pytest.mark.long
def test_history_shows_what_was_known_by_then(tmp_path: Path) -> None:
    shown = _shown(
        ("r1", 1, "i1", "a"),
        ("r1", 1, "i2", "b"),
        ("r3", 3, "j", "c"),
        ("r7", 7, "k", "c"),
        ("r9", 9, "l", "c"),
    )
    _write(
        tmp_path,
        shown,
        [("r1", "i1", "view", 2.0), ("r1", "i1", "apply", 6.0), ("r9", "l", "apply", 30.0)],
    )
    requests = built(_task(), tmp_path)

    def seen(name: str) -> list[tuple[str, str | None, dict[str, str]]]:
        return [(e.item.item_id, e.action, dict(e.outcomes)) for e in requests[name].history]

    # Day 3: the view is known. Nothing is known of i2, whose window is open until day 8.
    assert seen("r3") == [("a", "view", {"view": "view"})]
    # Day 7: the application is known too, and there is still one event of that impression.
    assert seen("r7") == [("a", "apply", {"apply": "apply", "view": "view"})]
    # Day 9: the window of i2 has closed on nothing.
    assert seen("r9") == [
        ("a", "apply", {"apply": "apply", "view": "view"}),
        ("b", "skip", {"apply": "skip", "view": "skip"}),
    ]
    # Statistics count an impression when its window has closed: two by day 9, one applied.
    assert requests["r7"].candidates[0].baseline["mean"] is None
    assert requests["r9"].candidates[0].baseline["mean"] == 0.5


@pytest.mark.long
def test_lag_moves_what_is_known(tmp_path: Path) -> None:
    shown = _shown(("r1", 1, "i1", "a"), ("r3", 3, "j", "c"))
    _write(tmp_path, shown, [("r1", "i1", "view", 2.5), ("r3", "j", "view", 30.0)])
    assert built(_task(), tmp_path)["r3"].history
    assert not built(_task(history={"lag": "12h"}), tmp_path)["r3"].history


@pytest.mark.long
def test_an_unknown_label_is_no_label(tmp_path: Path) -> None:
    shown = _shown(("r1", 1, "i1", "a"), ("r1", 1, "i2", "b"))
    _write(
        tmp_path,
        shown,
        [("r1", "i1", "bookmark", 2.0), ("r1", "i2", "bookmark", 2.0), ("r1", "i2", "view", 30.0)],
    )
    made = build(_task(), tmp_path)
    assert made.errors == {"unknown_label": 2}
    requests, _ = read(made.path)
    assert _outcomes(requests[0]) == {"i1": {}, "i2": {}}


@pytest.mark.long
def test_bad_rows_leave_a_partial_request(tmp_path: Path) -> None:
    shown = [
        *_shown(
            ("r1", 1, "i1", "a"),
            ("r1", 1, "i2", "nowhere"),
            ("r1", 1, "i1", "b"),
            ("r2", 2, "j", "gone"),
        ),
        *[{**row, "item_id": None} for row in _shown(("r1", 1, "i4", "a"))],
        *[{**row, "member_id": "other"} for row in _shown(("r3", 3, "k1", "a"))],
        *_shown(("r3", 3, "k2", "a")),
    ]
    _write(tmp_path, shown, [("r1", "i1", "view", 9.0)])
    made = build(_task(), tmp_path)
    assert made.errors == {
        "item_not_found": 2,
        "duplicate_candidate": 1,
        "no_candidates": 1,
        "null_key": 1,
        "mixed_subject": 1,
    }
    (request,), errors = read(made.path)
    assert not errors
    assert request.request_id == "r1"
    assert [c.candidate_id for c in request.candidates] == ["i1"]
    assert (request.meta["partial"], request.meta["lost"]) == (True, 2)


@pytest.mark.long
def test_a_propensity_that_is_no_probability_is_an_error_row(tmp_path: Path) -> None:
    chances = [0.5, 0.0, -0.1, 1.5, float("inf"), float("nan"), None, 1.0]
    shown = _shown(*(("r1", 1, f"i{k}", "a") for k in range(len(chances))))
    shown = [{**row, "p": chance} for row, chance in zip(shown, chances, strict=True)]
    _write(tmp_path, shown, [("r1", "i1", "view", 9.0)])
    task = _task()
    assert task.requests is not None
    named = task.requests.model_dump()
    named["candidate"] |= {"propensity": "p", "item": "items", "context": []}
    named["subject"] = {"member": "member_id"}
    made = build(_task(requests=named), tmp_path)
    assert made.errors == {"bad_row": 4}
    (request,), errors = read(made.path)
    assert not errors
    kept = {c.candidate_id: c.propensity for c in request.candidates}
    assert kept == {"i0": 0.5, "i5": None, "i6": None, "i7": 1.0}
    assert request.meta["lost"] == 4
    told = (tmp_path / "out.errors.jsonl").read_text()
    assert '"candidate_id":"i3"' in told
    assert "a propensity of 1.5, which is not above 0 and at most 1" in told


@pytest.mark.long
@pytest.mark.parametrize("key", [["imp"], ["request", "imp"]])
def test_keys(tmp_path: Path, key: list[str]) -> None:
    _write(tmp_path, _shown(("r1", 1, "i1", "a")), [("r1", "i1", "apply", 2.0)])
    task = _task()
    assert task.outcomes is not None
    outcomes = task.outcomes.model_copy(update={"key": key, "within": None, "none": None})
    requests = built(task.model_copy(update={"outcomes": outcomes}), tmp_path)
    assert _outcomes(requests["r1"]) == {"i1": {"apply": "apply", "view": "view"}}
