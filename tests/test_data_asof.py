"""The property that guards everything: nothing at or after t changes what predicts a label at t.

Random tables are built twice, the second time with everything from a moment on changed, removed
or added to; requests up to that moment must show the same.
"""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.errors import InputError
from promptrank.evaluation.slices import Slicing, fit_slicings
from promptrank.records import Request
from promptrank.schema.task import Task
from support.data import (
    END,
    ITEMS,
    LIKE,
    MEMBERS,
    STATISTICS,
    TIMED,
    Row,
    build,
    make_task,
    random_ratings,
    read,
    write_rows,
)

FEW = settings(max_examples=5, deadline=None, derandomize=True)
MANY = settings(max_examples=12, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10**6)


def _versions(rng: random.Random, key: str, names: str, low: int, count: int) -> list[Row]:
    versions = {(rng.choice(names), rng.randrange(low, END)) for _ in range(count)}
    return [{key: n, "since": t, "text": f"{n} {rng.random():.3f}"} for n, t in sorted(versions)]


def _change(
    rng: random.Random, rows: list[Row], moment: int, fresh: list[Row], time: str
) -> list[Row]:
    """Everything before ``moment`` as it was; from it on some rows go, some change, some come."""
    before = [r for r in rows if r[time] < moment]
    late = [dict(r) for r in rows if r[time] >= moment and rng.random() < 0.6]
    for row in late:
        for name in set(row) & {"rating", "text", "label"}:
            row[name] = type(row[name])(rng.choice(["1", "2", "5"]))
    return [*before, *late, *fresh]


def _predictors(request: Request) -> Any:
    """What a prompt and a baseline could show of a request, without its own candidates."""
    return (request.time, request.subject, [_event(e) for e in request.history])


def _event(event: Any) -> Any:
    # Keys name rows of a snapshot, which later versions renumber.
    return (
        event.item.item_id,
        event.item.fields,
        event.action,
        event.time,
        event.stats,
        event.outcomes,
    )


def _same(before: dict[str, Request], after: dict[str, Request], moment: int) -> int:
    """Compare what both hold up to ``moment``; returns how many candidates were compared."""
    compared, slicings = 0, _slicings([*before.values()])
    for name, request in before.items():
        other = after.get(name)
        # A request whose own first row went, at the very moment, is another request now.
        if other is None or request.time is None or request.time != other.time:
            continue
        if request.time > moment:
            continue
        assert _predictors(request) == _predictors(other)
        theirs = {c.candidate_id: c for c in other.candidates}
        for mine in request.candidates:
            if (same := theirs.get(mine.candidate_id)) is not None:
                compared += 1
                assert (mine.item.fields, mine.stats, mine.baseline) == (
                    same.item.fields,
                    same.stats,
                    same.baseline,
                )
                for slicing in slicings:
                    assert slicing.code(request, mine) == slicing.code(other, same), slicing.name
        if _own(request) == _own(other) and "negatives" in request.meta:
            assert set(theirs) == {c.candidate_id for c in request.candidates}
    return compared


SLICES: tuple[str, ...] = ("history", "item_events", "item.text", "member.text")
SLICES += ("item.text > 'd'", "stats.mean", "stats.recent > 1", "query.text ~ item.text")


def _slicings(requests: list[Request]) -> list[Slicing]:
    """Those of `SLICES` that these requests have what it takes for."""
    made: list[Slicing] = []
    for name in SLICES:
        try:
            made += fit_slicings([name], requests)
        except InputError:
            continue
    assert made
    return made


def _own(request: Request) -> set[str]:
    return {c.candidate_id for c in request.candidates if c.outcomes.get("like") != "sampled"}


def _ratings(seed: int) -> None:
    rng = random.Random(seed)
    answers = {**LIKE["like"]["answers"], "sampled": {"say": "X", "value": 0}}
    task = make_task(
        tables=TIMED,
        ratings={
            "path": "ratings.parquet",
            "member": "members",
            "item": "items",
            "time": "time",
            "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
            "group": rng.choice([{"session": "2s"}, {"last": 3}]),
            "negatives": {
                "count": 2,
                "label": "sampled",
                "sampler": rng.choice(["uniform", "popular"]),
            },
        },
        history={"last": 4, "as": rng.choice(["list", "turns"]), "lag": rng.choice([0, "3s"])},
        statistics=STATISTICS | {"shared": STATISTICS["shared"] | {"by": "[text, left(text, 1)]"}},
        questions={"like": {"answers": answers}},
    )
    ratings = random_ratings(rng, 0, 60)
    # The moment is that of a request, and things change at that very moment.
    moment = rng.choice(sorted(r["time"] for r in ratings)[20:])
    tables: dict[str, tuple[str, list[Row], list[Row]]] = {
        "ratings": ("time", ratings, random_ratings(rng, min(moment, END - 1), 8)),
        "items": (
            "since",
            [{"item_id": i, "since": -9, "text": i} for i in ITEMS[:6]]
            + _versions(rng, "item_id", ITEMS, 0, 12),
            [{"item_id": i, "since": moment, "text": "new"} for i in ITEMS + "xyz"],
        ),
        "members": (
            "since",
            _versions(rng, "member_id", MEMBERS, -9, 9),
            [{"member_id": m, "since": moment, "text": "new"} for m in MEMBERS],
        ),
    }
    assert _twice(task, rng, moment, tables) > 0


def _impressions_with_outcomes(seed: int) -> None:
    rng = random.Random(seed)
    shown: list[Row] = [
        {
            "request": f"r{r}",
            "member_id": rng.choice(MEMBERS),
            "time": time,
            "items": rng.sample(ITEMS, 3),
        }
        for r in range(40)
        for time in [rng.randrange(0, 20)]
    ]
    impressions = [
        {"request": s["request"], "member_id": s["member_id"], "time": s["time"], "item_id": i}
        for s in shown
        for i in s["items"]
    ]

    def actions(rows: list[Row], low: int) -> list[Row]:
        made = []
        for row in rows:
            for label in ("view", "apply"):
                if rng.random() < 0.7:
                    time = max(low, row["time"]) + rng.randrange(0, 7)
                    made.append(
                        {
                            "request": row["request"],
                            "item_id": row["item_id"],
                            "label": label,
                            "time": time,
                        }
                    )
        return made

    task = _jobs(
        history={"last": 4, "as": rng.choice(["list", "turns"])},
        statistics={
            "applies": {"mean": "CAST(label = 'apply' AS INTEGER)"},
            "rank": {"count": True, "percentile": True},
        },
    )
    moment = rng.randrange(8, 20)
    tables = {
        "shown": ("time", impressions, []),
        "actions": ("time", actions(impressions, 0), actions(impressions, moment)),
    }
    _twice(task, rng, moment, tables, {"items": [{"item_id": i} for i in ITEMS]})


def _judgements(seed: int) -> None:
    rng = random.Random(seed)
    task = make_task(
        ratings=None,
        judgements={
            "path": "ratings.parquet",
            "query": "member_id",
            "item": "items",
            "time": "time",
            "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
        },
        history=None,
        statistics={k: v for k, v in STATISTICS.items() if v.get("of") != "member"},
    )
    moment = rng.randrange(10, END - 5)
    rows = [r | {"member_id": f"q{k % 9}"} for k, r in enumerate(random_ratings(rng, 0, 50))]
    tables = {"ratings": ("time", rows, random_ratings(rng, moment, 5))}
    _twice(task, rng, moment, tables, {"items": [{"item_id": i} for i in ITEMS]})


FORMS = pytest.mark.parametrize("form", [_ratings, _impressions_with_outcomes, _judgements])


@pytest.mark.long
@FORMS
@FEW
@given(seed=SEEDS)
def test_the_future_changes_nothing(form: Callable[[int], None], seed: int) -> None:
    form(seed)


@pytest.mark.slow
@FORMS
@MANY
@given(seed=SEEDS)
def test_the_future_changes_nothing_in_many_tables(form: Callable[[int], None], seed: int) -> None:
    form(seed)


def _jobs(**parts: Any) -> Task:
    given: dict[str, Any] = {
        "ratings": None,
        "requests": {
            "path": "shown.parquet",
            "id": "request",
            "time": "time",
            "subject": {"member": "member_id"},
            "candidate": {"item": "items"},
        },
        "outcomes": {
            "path": "actions.parquet",
            "key": ["request", "item_id"],
            "label": "label",
            "time": "time",
            "within": "5s",
            "none": "skip",
        },
        "questions": {
            "apply": {
                "answers": {
                    "apply": {"say": "Yes", "value": 1},
                    "view": {"say": "Maybe", "value": 0.5},
                    "skip": {"say": "No", "value": 0},
                }
            }
        },
    }
    return make_task(**given | parts)


def _twice(
    task: Task,
    rng: random.Random,
    moment: int,
    tables: dict[str, tuple[str, list[Row], list[Row]]],
    fixed: dict[str, list[Row]] | None = None,
) -> int:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for table, rows in (fixed or {}).items():
            write_rows(root / f"{table}.parquet", rows)
        schemas = {t: pa.Table.from_pylist(rows).schema for t, (_, rows, _) in tables.items()}
        for table, (_, rows, _) in tables.items():
            write_rows(root / f"{table}.parquet", rows, schemas[table])
        before = _build(task, root)
        for table, (time, rows, fresh) in tables.items():
            changed = _change(rng, rows, moment, fresh, time)
            if time == "since":
                key = next(iter(rows[0]))
                changed = list({(r[key], r["since"]): r for r in changed}.values())
            write_rows(root / f"{table}.parquet", changed, schemas[table])
        return _same(before, _build(task, root), moment)


def _build(task: Task, root: Path) -> dict[str, Request]:
    requests, _ = read(build(task, root).path)
    return {r.request_id: r for r in requests}
