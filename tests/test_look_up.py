"""Look-ups by ids: what is found is what `build` writes for the same subject and time."""

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import promptrank
from promptrank.errors import DataError
from promptrank.records import Candidate, Request
from promptrank.schema.task import Task
from promptrank.tables.look_up import LookUp
from promptrank.workspace.tasks import open_task
from support.data import (
    END,
    ITEMS,
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

MANY = settings(max_examples=25, deadline=None, derandomize=True)
SEEDS = st.integers(0, 10**6)


def _ids(request: Request) -> dict[str, Any]:
    """What a request is called and nothing that it knows, but for the context of its pairs."""
    subject, source = request.subject, request.subject.source
    ids = {
        "request_id": request.request_id,
        "member_id": subject.member_id,
        "query_id": subject.query_id,
        "source_id": source.item_id if source is not None else None,
        "time": request.time,
        "split": request.split,
    }
    candidates = [
        {"candidate_id": c.candidate_id, "item_id": c.item.item_id, "context": c.context}
        for c in request.candidates
    ]
    return {k: v for k, v in ids.items() if v is not None} | {"candidates": candidates}


def _known(request: Request) -> Request:
    """The request without labels and without what was logged of its candidates."""
    candidates = tuple(
        Candidate(c.candidate_id, c.item, c.context, c.stats, baseline=c.baseline)
        for c in request.candidates
    )
    return replace(request, candidates=candidates, meta={})


def _same(task: Task, root: Path, requests: Sequence[Request]) -> int:
    """Requests of `build` against look-ups of their ids; how many were compared."""
    with LookUp(task, root) as tables:
        for request, found in zip(
            requests, tables.look_up_many([_ids(r) for r in requests]), strict=True
        ):
            assert found.request == _known(request)
            assert not found.errors and not found.unknown
            assert found.time == request.time
            assert found.events == len(request.history)
            assert found.items == len(request.candidates)
        alone = requests[len(requests) // 2]
        assert tables.look_up(_ids(alone)).request == _known(alone)
    return len(requests)


def _built_and_looked_up(task: Task, tables: dict[str, list[Row]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for table, rows in tables.items():
            write_rows(root / f"{table}.parquet", rows)
        requests, errors = read(build(task, root).path)
        assert not errors
        assert _same(task, root, requests) > 3


def _versions(rng: random.Random, key: str, names: str, low: int, count: int) -> list[Row]:
    versions = {(rng.choice(names), rng.randrange(low, END)) for _ in range(count)}
    versions |= {(n, -20) for n in names}
    return [{key: n, "since": t, "text": f"{n} {rng.random():.3f}"} for n, t in sorted(versions)]


WAYS: list[dict[str, Any]] = [
    {"as": "list"},
    {"as": "turns"},
    {"as": "turns", "at_most": {"like": 1}},
    {"as": "list", "build": "round_robin"},
    {"as": "list", "build": "similar"},
]


def _ratings(seed: int) -> None:
    rng = random.Random(seed)
    task = make_task(
        tables=TIMED,
        ratings={
            "path": "ratings.parquet",
            "member": "members",
            "item": "items",
            "time": "time",
            "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
            "group": rng.choice([{"session": "2s"}, {"last": 3}]),
        },
        history={"last": rng.choice([2, 4]), "lag": rng.choice([0, "3s"]), **rng.choice(WAYS)},
        statistics=STATISTICS | {"shared": STATISTICS["shared"] | {"by": "[text, left(text, 1)]"}},
        split={"by": "last", "test": 1},
    )
    tables = {
        "ratings": random_ratings(rng, 0, 60),
        "items": _versions(rng, "item_id", ITEMS, 0, 12),
        "members": _versions(rng, "member_id", MEMBERS, -9, 9),
    }
    _built_and_looked_up(task, tables)


def _events(seed: int) -> None:
    """Impressions with outcomes, and sometimes a history of its own table."""
    rng = random.Random(seed)
    shown: list[Row] = []
    for r in range(30):
        member, time = rng.choice(MEMBERS), rng.randrange(0, 25)
        shown += [
            {"request": f"r{r}", "member_id": member, "time": time, "item_id": i, "far": k}
            for k, i in enumerate(rng.sample(ITEMS, 3))
        ]
    actions = [
        {
            "request": row["request"],
            "member_id": row["member_id"],
            "item_id": row["item_id"],
            "label": label,
            "time": row["time"] + rng.randrange(0, 7),
        }
        for row in shown
        for label in ("view", "apply")
        if rng.random() < 0.7
    ]
    history: dict[str, Any] = {"last": 4, "as": rng.choice(["list", "turns"])}
    if rng.random() < 0.5:
        own = {"path": "actions.parquet", "member": "member_id", "item": "items"}
        history["events"] = own | {"time": "time", "action": "label"}
    task = make_task(
        ratings=None,
        requests={
            "path": "shown.parquet",
            "id": "request",
            "time": "time",
            "subject": {"member": "member_id"},
            "candidate": {"item": "items", "context": ["far"]},
        },
        outcomes={
            "path": "actions.parquet",
            "key": ["request", "item_id"],
            "label": "label",
            "time": "time",
            "within": "5s",
            "none": "skip",
        },
        history=history,
        # Training requests of such a split do not show what is held out.
        split=rng.choice([None, {"by": "field", "field": "item.kind", "test": ["odd"]}]),
        statistics={
            "applies": {"mean": "CAST(label = 'apply' AS INTEGER)"},
            "rank": {"count": True, "percentile": True},
        },
        questions={
            "apply": {
                "answers": {
                    "apply": {"say": "Yes", "value": 1},
                    "view": {"say": "Maybe", "value": 0.5},
                    "skip": {"say": "No", "value": 0},
                }
            }
        },
    )
    items = [{"item_id": i, "text": i, "kind": "odd" if i in "aeg" else "usual"} for i in ITEMS]
    _built_and_looked_up(task, {"shown": shown, "actions": actions, "items": items})


def _judgements(seed: int) -> None:
    """Queries, with BM25 and sampled negatives, by a clock or by none."""
    rng = random.Random(seed)
    words = ["red", "blue", "shoe", "lamp", "soft"]
    clock = {"time": "time"} if rng.random() < 0.5 else {}
    task = make_task(
        tables={
            "items": {"path": "items.parquet", "key": "item_id"},
            "queries": {"path": "queries.parquet", "key": "query_id"},
        },
        ratings=None,
        judgements={
            "path": "ratings.parquet",
            "query": "queries",
            "item": "items",
            "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
            "negatives": {"count": 2, "label": "dislike", "sampler": "uniform"},
            **clock,
        },
        history=None,
        statistics={"words": {"bm25": ["text"]}} | ({"mean": STATISTICS["mean"]} if clock else {}),
    )
    rows = [r | {"query_id": f"q{k % 7}"} for k, r in enumerate(random_ratings(rng, 0, 40))]
    texts = [" ".join(rng.choices(words, k=3)) for _ in range(20)]
    items = [{"item_id": i, "text": texts[k]} for k, i in enumerate(ITEMS)]
    queries = [{"query_id": f"q{k}", "text": texts[k + 10]} for k in range(7)]
    _built_and_looked_up(task, {"ratings": rows, "items": items, "queries": queries})


FORMS = pytest.mark.parametrize("form", [_ratings, _events, _judgements])


@pytest.mark.long
@FORMS
def test_a_look_up_finds_what_build_writes(form: Callable[[int], None]) -> None:
    form(5)


@pytest.mark.long
def test_a_typed_query_has_numbers_of_its_words_and_no_other_fields(tmp_path: Path) -> None:
    task = make_task(
        tables={
            "items": {"path": "items.parquet", "key": "item_id"},
            "queries": {"path": "queries.parquet", "key": "query_id"},
        },
        ratings=None,
        judgements={
            "path": "grades.parquet",
            "query": "queries",
            "item": "items",
            "label": "grade",
        },
        history=None,
        statistics={"words": {"bm25": ["text"]}},
    )
    items = [{"item_id": i, "text": t} for i, t in (("a", "red shoe"), ("b", "lamp"))]
    write_rows(tmp_path / "items.parquet", items)
    queries = [{"query_id": "red", "text": "blue lamp", "kind": "home"}]
    write_rows(tmp_path / "queries.parquet", queries)
    write_rows(tmp_path / "grades.parquet", [{"query_id": "red", "item_id": "a", "grade": "like"}])
    asked = {"candidates": [{"item_id": "a"}, {"item_id": "b"}]}
    own = {"item_id": "c", "item": {"text": "lamp"}}
    with LookUp(task, tmp_path) as tables:
        typed = tables.look_up({**asked, "query": "red"})
        stored = tables.look_up({"query_id": "red", "candidates": [*asked["candidates"], own]})
        with pytest.raises(DataError, match="query_id: 'blue' is not in the task's tables; give"):
            tables.look_up({**asked, "query_id": "blue"})
    # The words that were typed are no id, though a query is called so.
    assert typed.request.subject.query == {"query_id": None, "text": "red", "kind": None}
    assert typed.request.subject.query_id == "red" and not typed.unknown
    red, lamp = (c.stats["words"] for c in typed.request.candidates)
    assert red > 0 == lamp
    red, lamp, new = (c.stats["words"] for c in stored.request.candidates)
    assert (stored.request.subject.query or {})["text"] == "blue lamp"
    assert red == 0 < lamp == new


@pytest.mark.slow
@FORMS
@MANY
@given(seed=SEEDS)
def test_a_look_up_finds_what_build_writes_in_many_tables(
    form: Callable[[int], None], seed: int
) -> None:
    form(seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["movies/like", "movies/rating", "movies/similar"])
def test_shipped_tasks_on_movielens(name: str, ml100k_path: Path, tmp_path: Path) -> None:
    opened = open_task(name)
    built = build(opened.task, ml100k_path, tmp_path / "out.parquet", limit=30)
    requests, _ = read(built.path)
    assert _same(opened.task, ml100k_path, requests) > 20


@pytest.mark.slow
def test_shipped_tasks_on_a_marketplace(tmp_path: Path) -> None:
    root = tmp_path / "jobs"
    promptrank.simulate_jobs(root, promptrank.Switches(members=40, delay=3.0))
    for name in ("apply", "fit", "search", "similar"):
        task = open_task(f"jobs/{name}").task
        requests, _ = read(build(task, root, tmp_path / f"{name}.parquet", limit=60).path)
        assert _same(task, root, requests) >= 20
