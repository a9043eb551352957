"""Statistics by what items share, and above another statistic, against a plain computation."""

import random
from pathlib import Path
from typing import Any

import pytest

from promptrank.errors import InputError
from promptrank.records import Request
from support.data import ITEMS, Row, built, make_task, mean_before, random_ratings, write_rows

GENRES = {item: ["ab", "b", "bc", "c"][k % 4] for k, item in enumerate(ITEMS)}
PRIOR = 2.0


def _built(folder: Path, rows: list[Row], statistics: dict[str, Any]) -> dict[str, Request]:
    write_rows(
        folder / "items.parquet",
        [{"item_id": i, "genres": list(g), "text": ", ".join(g)} for i, g in GENRES.items()],
    )
    write_rows(folder / "ratings.parquet", rows)
    task = make_task(history={"last": 3}, statistics=statistics)
    return built(task, folder)


def _above(rows: list[Row], row: Row) -> float | None:
    """A row's rating less the mean of earlier ratings of its item."""
    facts = [(r["time"], r["rating"]) for r in rows if r["item_id"] == row["item_id"]]
    mean = mean_before(facts, row["time"])
    return None if mean is None else row["rating"] - mean


def _steadied(numbers: list[float], weights: list[float], prior: float, towards: float) -> float:
    total = sum(w * x for w, x in zip(weights, numbers, strict=True))
    return (total + prior * towards) / (sum(weights) + prior)


@pytest.mark.long
@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("by", ["genres", "string_split(text, ', ')"])
def test_agrees_with_a_plain_computation(tmp_path: Path, above: bool, by: str) -> None:
    rows = random_ratings(random.Random(3), 0, 80)
    shared: dict[str, Any] = {"of": "member", "mean": "rating", "by": by, "prior": PRIOR}
    shared |= {"above": "mean"} if above else {}
    requests = _built(tmp_path, rows, {"mean": {"mean": "rating"}, "shared": shared})
    checked = 0
    for request in requests.values():
        moment = request.time or 0.0
        known = [(r, _above(rows, r) if above else float(r["rating"])) for r in rows]
        past = [(r, x) for r, x in known if r["time"] < moment and x is not None]
        mine = [(r, x) for r, x in past if r["member_id"] == request.subject.member_id]
        for candidate in request.candidates:
            got = candidate.stats["shared"]
            if not past:
                assert got is None
                continue
            overall = sum(x for _, x in past) / len(past)
            own = _steadied([x for _, x in mine], [1.0] * len(mine), PRIOR, overall)
            genres = GENRES[candidate.item.item_id]
            shares = [len(set(genres) & set(GENRES[r["item_id"]])) / len(genres) for r, _ in mine]
            assert got == pytest.approx(_steadied([x for _, x in mine], shares, PRIOR, own))
            checked += 1
    assert checked > 20


@pytest.mark.long
def test_it_stands_with_the_candidate_and_with_events(tmp_path: Path) -> None:
    rows = [
        {"member_id": "m", "item_id": item, "time": time, "rating": rating}
        for time, item, rating in [(1, "a", 5), (2, "e", 1), (3, "b", 2), (4, "a", 4)]
    ]
    statistics = {"shared": {"of": "member", "mean": "rating", "by": "genres"}}
    requests = _built(tmp_path, rows, statistics)
    last = requests["m@3"]  # candidates b and a, after a (genres a, b: 5) and e (a, b: 1)
    assert {c.item.item_id: c.stats["shared"] for c in last.candidates} == {"b": 3.0, "a": 3.0}
    assert [e.stats["shared"] for e in last.history] == [None, 5.0]
    assert not last.subject.member or "shared" not in last.subject.member


@pytest.mark.long
def test_nothing_shared_and_no_prior_is_none(tmp_path: Path) -> None:
    rows = [
        {"member_id": "m", "item_id": item, "time": time, "rating": 3}
        for time, item in [(1, "a"), (2, "d")]
    ]
    statistics = {"shared": {"of": "member", "mean": "rating", "by": "genres"}}
    write_rows(tmp_path / "items.parquet", [{"item_id": "a", "genres": ["a"]}, {"item_id": "d"}])
    write_rows(tmp_path / "ratings.parquet", rows)
    task = make_task(statistics=statistics, history=None)
    numbers = [c.stats["shared"] for r in built(task, tmp_path).values() for c in r.candidates]
    assert numbers == [None, None]


@pytest.mark.long
@pytest.mark.parametrize(
    ("statistic", "message"),
    [
        ({"mean": "rating", "by": "genres"}, "by goes with of: member and mean"),
        ({"of": "member", "count": True, "by": "genres"}, "by goes with of: member and mean"),
        ({"count": True, "above": "mean"}, "above goes with mean"),
        ({"mean": "rating", "above": "men"}, "'men' is no statistic that has a mean"),
        ({"mean": "rating", "above": "rank"}, "'rank' is no statistic that has a mean"),
        ({"mean": "rating", "above": "s"}, "'s' is no statistic that has a mean"),
        (
            {"of": "member", "mean": "rating", "by": "genres", "percentile": True},
            "by and percentile exclude each other",
        ),
        ({"of": "member", "mean": "rating", "by": "genre"}, "statistics.s.by"),
        ({"of": "member", "mean": "rating", "by": "sum(genres)"}, "statistics.s.by"),
    ],
)
def test_what_cannot_be_meant_is_told(
    tmp_path: Path, statistic: dict[str, Any], message: str
) -> None:
    rows = random_ratings(random.Random(3), 0, 9)
    with pytest.raises((InputError, ValueError), match=message):
        rank = {"mean": "rating", "percentile": True}
        _built(tmp_path, rows, {"mean": {"mean": "rating"}, "rank": rank, "s": statistic})
