"""Recent popularity: counts by hand, the window's edges, and data in which nothing is recent."""

import pytest

from promptrank.baselines.baseline import Baseline
from promptrank.baselines.baseline_fit import fit_baselines
from promptrank.baselines.recent_popularity import DAY, DAYS
from promptrank.records import Request, Subject
from support.baselines import an_aim, candidate

NAME = "recent_popularity"


def at(day: float | None, split: str = "test", **counts: float | None) -> Request:
    rows = tuple(candidate(n, baseline={"item_count": c}) for n, c in counts.items())
    time = None if day is None else day * DAY
    return Request(f"r{day}{split}", Subject("m"), rows, time=time, split=split)


def fit(*requests: Request, **parts: object) -> Baseline:
    return fit_baselines(requests, an_aim(**parts), [NAME])[NAME]  # type: ignore[arg-type]


def scores(baseline: Baseline, request: Request) -> list[float | None]:
    assert baseline.rank is not None, baseline.reason
    return list(baseline.rank(request).scores)


def test_by_hand() -> None:
    assert DAYS == 30
    asked = at(100, a=50, b=9, c=4, d=7)
    baseline = fit(
        at(60, "train", a=10, b=2),
        at(69, "valid", a=12, d=7),
        at(90, "test", a=40, b=8, c=1),
        asked,
        at(130, "test", a=99, b=99, c=99, d=99),
    )
    # Day 70 begins the window. a: 50 - 12 (day 69). b: 9 - 2 (day 60). c: nobody asked by then. d:
    # all seven were before.
    assert scores(baseline, asked) == [38, 7, 4, 0]
    assert baseline.facts == {"counts": "baseline.item_count", "days": 30}


def test_a_request_at_the_very_start_of_the_window_counts_and_one_later_does_not() -> None:
    asked = at(100, a=50)
    assert scores(fit(at(70, a=20), asked), asked) == [30]
    assert scores(fit(at(70.001, a=20), asked), asked) == [50]
    assert scores(fit(asked, at(70, a=20)), asked) == [30]  # whatever the order of the file


def test_what_has_no_count_or_no_time_has_no_score() -> None:
    known = at(100, a=1)
    assert scores(fit(known), at(100, a=None, z=3)) == [0, 3]  # no count: no event
    assert scores(fit(known), at(None, a=1)) == [None]


def test_a_statistic_of_the_task_comes_first() -> None:
    statistics = {
        "seen": {"count": True},
        "rank": {"count": True, "within": "7d", "percentile": True},
        "member": {"of": "member", "count": True, "within": "7d"},
        "week": {"count": True, "within": "7d"},
    }
    asked = Request("r", Subject("m"), (candidate("a", stats={"week": 5}),), time=1.0)
    baseline = fit(asked, statistics=statistics)
    assert baseline.facts == {"counts": "stats.week"}
    assert scores(baseline, asked) == [5]


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([at(None, a=1)], "no request has a time"),
        ([at(1, a=None)], "no candidate has an as-of count"),
    ],
)
def test_nothing_is_recent(requests: list[Request], reason: str) -> None:
    baseline = fit(*requests)
    assert baseline.rank is None
    assert reason in str(baseline.reason)


def test_an_order_is_no_clock() -> None:
    ratings = {
        "path": "ratings.parquet",
        "member": "member_id",
        "item": "items",
        "order": "n",
        "label": "x",
    }
    assert "an order and no clock" in str(fit(at(1, a=1), ratings=ratings).reason)
