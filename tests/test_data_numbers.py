"""Histories and numbers against a plain computation, and the same bytes from the same tables."""

import random
from pathlib import Path
from typing import Any

import pytest

from support.data import (
    ITEMS,
    STATISTICS,
    TIMED,
    Row,
    build,
    built,
    make_task,
    mean_before,
    percentile_before,
    random_ratings,
    write_rows,
)


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_agrees_with_a_plain_computation(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    rows = random_ratings(rng, 0, 70)
    write_rows(tmp_path / "items.parquet", [{"item_id": i} for i in ITEMS])
    write_rows(tmp_path / "ratings.parquet", rows)
    statistics = {
        "mean": {"mean": "rating", "prior": 2},
        "recent": {"mean": "rating", "within": "9s"},
        "rank": {"count": True, "percentile": True},
        "mean_rank": {"mean": "rating", "percentile": True},
    }
    lag = 2 if seed == 2 else 0
    task = make_task(history={"last": 5, "lag": f"{lag}s"}, statistics=statistics)
    requests = built(task, tmp_path)
    assert len(requests) > 20
    for request in requests.values():
        assert request.time is not None
        before = request.time - lag
        mine = sorted(
            (r["time"], r["item_id"])
            for r in rows
            if r["member_id"] == request.subject.member_id and r["time"] < before
        )
        assert [e.time for e in request.history] == [float(t) for t, _ in mine[-5:]]
        for event in request.history:
            _check_numbers(event.stats, event.item.item_id, (event.time or 0.0) - lag, rows)
        for candidate in request.candidates:
            _check_numbers(candidate.stats, candidate.item.item_id, before, rows)
            likes = [
                (r["item_id"], r["member_id"], r["time"], float(r["rating"] >= 4)) for r in rows
            ]
            item = [(t, v) for i, _, t, v in likes if i == candidate.item.item_id]
            assert candidate.baseline == pytest.approx(
                {
                    "item_count": sum(t < before for t, _ in item),
                    "item_mean": mean_before(item, before),
                    "member_mean": mean_before(
                        [(t, v) for _, m, t, v in likes if m == request.subject.member_id], before
                    ),
                    "mean": mean_before([(t, v) for _, _, t, v in likes], before),
                }
            )


def _check_numbers(stats: Any, item: str, before: float, rows: list[Row]) -> None:
    facts = [(r["item_id"], float(r["time"]), float(r["rating"])) for r in rows]
    mine = [(t, v) for i, t, v in facts if i == item and t < before]
    overall = mean_before([(t, v) for _, t, v in facts], before)
    mean = None
    if overall is not None:
        mean = (sum(v for _, v in mine) + 2 * overall) / (len(mine) + 2)
    recent = [(t, v) for t, v in mine if t >= before - 9]
    assert dict(stats) == pytest.approx(
        {
            "mean": mean,
            "recent": mean_before(recent, before),
            "rank": percentile_before(facts, item, before, count=True),
            "mean_rank": percentile_before(facts, item, before, count=False),
        }
    )


@pytest.mark.long
def test_under_turns_the_subject_is_as_of_the_first_turn(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": i, "since": 0} for i in ITEMS])
    versions = [(0, "young"), (20, "older"), (40, "old")]
    write_rows(
        tmp_path / "members.parquet",
        [{"member_id": "m", "since": t, "text": text} for t, text in versions],
    )
    rows = [(10, "a", 5), (20, "b", 1), (30, "c", 2), (50, "d", 3)]
    write_rows(
        tmp_path / "ratings.parquet",
        [{"member_id": "m", "time": t, "item_id": i, "rating": r} for t, i, r in rows],
    )
    ratings = {
        "path": "ratings.parquet",
        "member": "members",
        "item": "items",
        "time": "time",
        "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
        "group": {"last": 1},
    }
    seen = {}
    for shape in ("list", "turns"):
        task = make_task(
            tables=TIMED,
            ratings=ratings,
            history={"last": 2, "as": shape},
            statistics={"mean": {"of": "member", "mean": "rating"}},
        )
        subject = built(task, tmp_path)["m@50"].subject
        assert subject.member is not None
        seen[shape] = (subject.member["text"], subject.member["mean"])
    # As a list: before 50 the ratings are 5, 1, 2. As turns: before 20, the first turn's time.
    assert seen == {"list": ("old", 8 / 3), "turns": ("young", 5.0)}


@pytest.mark.long
def test_row_order_and_threads_change_no_byte(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows, items = random_ratings(rng, 0, 300), [{"item_id": i, "text": None} for i in ITEMS]
    task = make_task(
        statistics=STATISTICS,
        ratings={
            "path": "ratings.parquet",
            "member": "member_id",
            "item": "items",
            "time": "time",
            "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
            "context": ["rating"],
            "negatives": {"count": 2, "label": "dislike", "sampler": "popular"},
        },
        split={"by": "subject", "test": 0.5},
    )
    prints = set()
    for threads in (1, 2, 2):
        rng.shuffle(rows)
        rng.shuffle(items)
        write_rows(tmp_path / "items.parquet", items)
        write_rows(tmp_path / "ratings.parquet", rows)
        made = build(task, tmp_path, threads=threads)
        prints.add((made.path.read_bytes(), made.items_path.read_bytes(), made.fingerprint))
    assert len(prints) == 1
