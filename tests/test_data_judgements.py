"""Judgements and the source shape, similar histories, several questions: end to end."""

from pathlib import Path
from typing import Any

import pytest

from support.data import built, make_task, write_rows

ITEMS = [
    {"item_id": i, "title": title}
    for i, title in [("a", "red shoes"), ("b", "blue lamp"), ("c", "red boots"), ("d", "desk lamp")]
]
GRADES = {
    "grade": {
        "answers": {
            "bad": {"say": "No", "value": 0, "labels": ["0"]},
            "good": {"say": "Yes", "value": 1, "labels": ["1.0", "2"]},
        }
    }
}


def _graded(root: Path, subject: str, rows: list[tuple[str, str, float]]) -> None:
    write_rows(root / "items.parquet", ITEMS)
    names = (subject, "item_id", "grade")
    write_rows(root / "graded.parquet", [dict(zip(names, r, strict=True)) for r in rows])


def _task(subject: dict[str, Any], **more: Any) -> Any:
    judgements = {"path": "graded.parquet", "item": "items", "label": "grade", **subject, **more}
    return make_task(ratings=None, history=None, judgements=judgements, questions=GRADES)


@pytest.mark.long
def test_a_query_column_is_its_own_text(tmp_path: Path) -> None:
    _graded(tmp_path, "q", [("lamp", "b", 2.0), ("lamp", "a", 0.0), ("red", "a", 1.0)])
    requests = built(_task({"query": "q"}), tmp_path)
    assert list(requests) == ["lamp", "red"]
    assert requests["lamp"].subject.query == {"text": "lamp"}
    assert {c.item.item_id: dict(c.outcomes) for c in requests["lamp"].candidates} == {
        "a": {"grade": "bad"},
        "b": {"grade": "good"},
    }
    # Nothing keeps a label out of its own mean where there is no time.
    assert (requests["red"].time, requests["red"].candidates[0].baseline) == (None, {})


@pytest.mark.long
def test_a_source_item_is_no_candidate_beside_itself(tmp_path: Path) -> None:
    _graded(tmp_path, "source", [("a", "c", 1.0), ("b", "d", 1.0)])
    task = _task(
        {"source": {"table": "items", "column": "source"}}, negatives={"count": 9, "label": "0"}
    )
    requests = built(task, tmp_path)
    source = requests["a"].subject.source
    assert source is not None
    assert (source.item_id, source.fields["title"]) == ("a", "red shoes")
    assert [c.item.item_id for c in requests["a"].candidates] == ["b", "c", "d"]
    assert [c.outcomes["grade"] for c in requests["a"].candidates] == ["bad", "good", "bad"]


@pytest.mark.long
def test_histories_like_the_query(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", ITEMS)
    shown = [("r", "m", "lamp for desk", 9, "a")]
    names = ("request", "member_id", "q", "time", "item_id")
    write_rows(tmp_path / "shown.parquet", [dict(zip(names, r, strict=True)) for r in shown])
    events = [("m", "b", 1), ("m", "d", 2), ("m", "a", 3), ("m", "c", 4), ("m", "b", 9)]
    rows = [{"member_id": m, "item_id": i, "time": t} for m, i, t in events]
    write_rows(tmp_path / "events.parquet", rows)
    task = make_task(
        ratings=None,
        requests={
            "path": "shown.parquet",
            "id": "request",
            "time": "time",
            "subject": {"member": "member_id", "query": "q"},
            "candidate": {"item": "items"},
        },
        history={
            "last": 2,
            "build": "similar",
            "events": {
                "path": "events.parquet",
                "member": "member_id",
                "item": "items",
                "time": "time",
                "action": "'click'",
            },
        },
    )
    (request,) = built(task, tmp_path).values()
    assert request.subject.query == {"text": "lamp for desk"}
    # Two words in common come last; the click at 9 is not before the request.
    assert [(e.item.item_id, e.time) for e in request.history] == [("b", 1.0), ("d", 2.0)]


@pytest.mark.long
def test_each_question_takes_its_own_label(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", ITEMS)
    row = {"member_id": "m", "item_id": "a", "time": 1, "liked": True, "stars": 2}
    write_rows(tmp_path / "ratings.parquet", [row, {**row, "time": 2, "liked": None, "stars": 0}])
    answers = {
        "yes": {"say": "Yes", "value": 1, "labels": ["true"]},
        "no": {"say": "No", "value": 0, "labels": ["false"]},
    }
    task = make_task(
        ratings={
            "path": "ratings.parquet",
            "member": "member_id",
            "item": "items",
            "time": "time",
            "label": {"liked": "liked", "grade": "stars"},
            "group": {"last": 1},
        },
        questions={"liked": {"answers": answers}, **GRADES},
        score="liked + grade",
    )
    requests = built(task, tmp_path)
    assert requests["m@1"].candidates[0].outcomes == {"liked": "yes", "grade": "good"}
    assert requests["m@2"].candidates[0].outcomes == {"grade": "bad"}
    assert requests["m@2"].history[0].outcomes == {"liked": "yes", "grade": "good"}
