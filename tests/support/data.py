"""Small tables for the data tests, and a slow, plain way to compute what the builder computes."""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.errors import ErrorRow
from promptrank.records import Request
from promptrank.requests.read import read_requests
from promptrank.schema.task import Task
from promptrank.tables.build import Built, build_requests
from promptrank.tables.own_items import task_items

Row = dict[str, Any]

LIKE: dict[str, Any] = {
    "like": {
        "answers": {
            "like": {"say": "Yes", "value": 1},
            "dislike": {"say": "No", "value": 0},
        }
    }
}


def write_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None
) -> Path:
    """Rows as parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(r) for r in rows], schema=schema), path)
    return path


def make_task(**parts: Any) -> Task:
    """A ratings task over items.parquet and ratings.parquet, with parts replaced."""
    given: dict[str, Any] = {
        "domain": "d",
        "template": "t.j2",
        "tables": {"items": {"path": "items.parquet", "key": "item_id"}},
        "ratings": {
            "path": "ratings.parquet",
            "member": "member_id",
            "item": "items",
            "time": "time",
            "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
            "group": {"last": 2},
        },
        "history": {"last": 3},
        "questions": LIKE,
    }
    given |= parts
    return Task.model_validate({k: v for k, v in given.items() if v is not None})


def build(task: Task, root: Path, out: Path | None = None, **options: Any) -> Built:
    """Build with one thread into ``root/out.parquet``."""
    options.setdefault("threads", 1)
    return build_requests(task, root=root, out=out or root / "out.parquet", **options)


def read(path: Path, **options: Any) -> tuple[list[Request], list[ErrorRow]]:
    """All requests of a file, and the rows that could not be read."""
    errors: list[ErrorRow] = []
    if (root := options.pop("root", None)) is not None:
        options["own_items"] = lambda: task_items(options["task"], root)
    return list(read_requests(path, errors=errors.append, **options)), errors


def built(task: Task, root: Path, **options: Any) -> dict[str, Request]:
    """Requests by id, built and read back."""
    requests, errors = read(build(task, root, **options).path)
    assert not errors
    return {r.request_id: r for r in requests}


def mean_before(facts: Sequence[tuple[float, float]], moment: float) -> float | None:
    """Mean of the values whose time is before ``moment``."""
    values = [v for t, v in facts if t < moment]
    return math.fsum(values) / len(values) if values else None


def percentile_before(
    facts: Sequence[tuple[str, float, float]], entity: str, moment: float, *, count: bool
) -> float | None:
    """The percentile of docs/reference/requests.md: facts are (entity, time, value)."""

    def value(name: str, before: float) -> float | None:
        mine = [v for e, t, v in facts if e == name and t < before]
        if not mine:
            return None
        return float(len(mine)) if count else math.fsum(mine) / len(mine)

    times = sorted(t for _, t, _ in facts)
    numbers, at = set(), 1.0
    while at <= len(times):
        numbers.add(int(at))
        at *= 1.2
    cuts = [times[n - 1] for n in numbers if times[n - 1] < moment]
    own = value(entity, moment)
    if not cuts or own is None:
        return None
    after = math.nextafter(max(cuts), math.inf)
    others = [v for e in {e for e, _, _ in facts} if (v := value(e, after)) is not None]
    below = sum(v < own for v in others) + sum(v == own for v in others) / 2
    return 100 * below / len(others)


MEMBERS, ITEMS, END = "mno", "abcdefgh", 40

STATISTICS: dict[str, Any] = {
    "mean": {"mean": "rating", "prior": 2},
    "recent": {"count": "rating > 2", "within": "12s"},
    "rank": {"count": True, "percentile": True},
    "mean_rank": {"mean": "rating", "percentile": True},
    "of_member": {"of": "member", "mean": "rating"},
    "lift": {"of": "member", "mean": "rating", "above": "mean", "within": "15s"},
    "shared": {"of": "member", "mean": "rating", "above": "mean", "by": "item_id", "prior": 1},
}
TIMED: dict[str, Any] = {
    "items": {"path": "items.parquet", "key": "item_id", "valid_from": "since"},
    "members": {"path": "members.parquet", "key": "member_id", "valid_from": "since"},
}


def random_ratings(rng: random.Random, low: int, count: int) -> list[Row]:
    # Few distinct times: ties are the rule, as in MovieLens.
    return [
        {
            "member_id": rng.choice(MEMBERS),
            "item_id": rng.choice(ITEMS),
            "time": rng.randrange(low, END),
            "rating": rng.randint(1, 5),
        }
        for _ in range(count)
    ]
