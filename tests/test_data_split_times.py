"""Splits and time: no label at or after a boundary trains, and none later changes what trained.

Each kind of split is tried with each way in which rows become requests. Random tables are built
twice: the second time labels from a moment on have changed, gone or come. What was trained or
validated before that moment must be the same to the last byte.
"""

import math
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptrank.errors import DataError
from promptrank.schema.task import Task
from support.data import Row, build, make_task, write_rows

END, TEST, VALID = 40, 28, 18
WINDOW = 3
ITEMS = [f"t{i}" for i in range(300)]

ANSWERS = {
    "like": {
        "answers": {
            "apply": {"say": "Yes", "value": 1, "labels": ["apply", "like"]},
            "view": {"say": "Maybe", "value": 0.5},
            "skip": {"say": "No", "value": 0, "labels": ["skip", "dislike"]},
        }
    }
}
LABEL = "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END"
RATINGS: dict[str, Any] = {"member": "member_id", "item": "items", "time": "time", "label": LABEL}
JUDGED = {"query": "request", "item": "items", "time": "time", "label": LABEL}
LISTED: dict[str, Any] = {
    "id": "request",
    "time": "time",
    "subject": {"member": "member_id"},
    "candidate": {"item": "items", "id": "row", "context": ["time"]},
}
ACTED: dict[str, Any] = {
    "path": "actions.parquet",
    "key": ["row"],
    "label": "action",
    "none": "skip",
}


def _rows_of(form: str, **source: Any) -> dict[str, Any]:
    return {"ratings": None, form: {"path": ["rows.parquet"], "context": ["time"], **source}}


def _listed(own: str | None = None, **outcomes: Any) -> dict[str, Any]:
    candidate = {**LISTED["candidate"], "label": own} if own else LISTED["candidate"]
    given = {"path": ["rows.parquet"], **LISTED, "candidate": candidate}
    return {"ratings": None, "requests": given, "outcomes": outcomes or None}


TIMELESS = "lists, outcomes without time"
GROUPINGS: dict[str, dict[str, Any]] = {
    "blocks": _rows_of("ratings", **RATINGS, group={"last": 4}),
    "blocks of one": _rows_of("ratings", **RATINGS, group={"last": 1}),
    "at least": _rows_of("ratings", **RATINGS, group={"last": 3, "at_least": 24}),
    "sessions": _rows_of("ratings", **RATINGS, group={"session": "2s"}),
    "judgements": {**_rows_of("judgements", **JUDGED), "history": None},
    "lists": _listed(LABEL),
    "lists with a window": _listed(**ACTED, time="at", within=f"{WINDOW}s"),
    "lists without a window": _listed(**ACTED, time="at"),
    TIMELESS: _listed(**ACTED),
}
TIMES: dict[str, dict[str, Any]] = {
    "at": {"at": TEST},
    "at, valid_at": {"at": TEST, "valid_at": VALID},
    "at, valid_at, gap": {"at": TEST, "valid_at": VALID, "gap": "2s"},
    "lengths": {"test": f"{END - TEST}s", "valid": "8s"},
    "lengths, gap": {"test": f"{END - TEST}s", "valid": "5s", "gap": "1s"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "last": {"by": "last", "test": 1, "valid": 1},
    "subject": {"by": "subject", "test": 0.3, "valid": 0.3},
    "column": {"by": "file", "column": "part"},
    "path": {"by": "file", "test": "held.parquet"},
    "field": {"by": "field", "field": "context.part", "test": "test", "valid": "valid"},
}


def _task(grouping: str, split: dict[str, Any]) -> Task:
    parts = {"history": {"last": 4, "as": "turns"}, **GROUPINGS[grouping]}
    statistics = {"count": {"count": True}, "rank": {"count": True, "percentile": True}}
    if split.get("test") == "held.parquet":
        form = next(f for f in ("ratings", "judgements", "requests") if parts.get(f))
        parts[form] = {**parts[form], "path": ["rows.parquet", "held.parquet"]}
    return make_task(**parts, split=split, statistics=statistics, questions=ANSWERS)


def _rows(rng: random.Random, low: int, count: int, start: int = 0) -> list[Row]:
    """Rows of few members; requests and queries last five seconds, boundaries lie within.

    No member meets an item twice: of doubles the earliest row alone would be a candidate.
    """
    made = []
    for row in range(start, start + count):
        time, who = rng.randrange(low, END), (0, 1, 0, 2, 0, 1, 0, 3)[row % 8]
        made.append(
            {
                "row": f"i{row}",
                "request": f"r{who}-{time // 5}",
                "member_id": "mnop"[who],
                "item_id": f"t{start + row // 2}",
                "time": time,
                "rating": rng.randint(1, 5),
                "part": rng.choice(["train", "train", "valid", "test"]),
            }
        )
    return made


def _actions(rng: random.Random, rows: list[Row], low: int) -> list[Row]:
    return [
        {"row": row["row"], "action": action, "at": max(low, row["time"]) + rng.randrange(6)}
        for row in rows
        for action in ("view", "apply")
        if rng.random() < 0.5
    ]


def _write(root: Path, rows: list[Row], actions: list[Row], by_path: bool) -> None:
    # The last row stays, so that lengths of time are counted from the same moment.
    rows = [*rows, {**rows[0], "row": "last", "member_id": "z", "request": "z", "time": END}]
    rows[-1]["part"] = "test"
    write_rows(root / "items.parquet", [{"item_id": i} for i in ITEMS])
    kinds = pa.schema(
        [(k, pa.string() if isinstance(v, str) else pa.int64()) for k, v in rows[0].items()]
    )
    here = [r for r in rows if r["part"] != "test"] if by_path else rows
    write_rows(root / "rows.parquet", here, kinds)
    if by_path:
        write_rows(root / "held.parquet", [r for r in rows if r["part"] == "test"], kinds)
    write_rows(root / "actions.parquet", actions)


def _trained(task: Task, root: Path) -> dict[str, list[Row]]:
    """Rows of the request file by request, of what trains or validates."""
    table = pq.read_table(build(task, root).path)
    found: dict[str, list[Row]] = {}
    for row in table.to_pylist():
        if row["split"] in ("train", "valid"):
            found.setdefault(row["request_id"], []).append(row)
    return found


def _late(rng: random.Random, rows: list[Row], keep: bool) -> list[Row]:
    """Rows with other labels and items; unless ``keep``, some of them are gone."""
    items = rng.sample(ITEMS[200:], len(rows))
    changed = [
        {**r, "rating": rng.randint(1, 5), "item_id": i} for r, i in zip(rows, items, strict=True)
    ]
    return changed if keep else [r for r in changed if rng.random() < 0.6]


def _changed(
    rng: random.Random,
    rows: list[Row],
    actions: list[Row],
    late: Callable[[float], bool],
    at: int,
    timeless: bool,
) -> tuple[list[Row], list[Row]]:
    """The tables with everything that is late changed, gone or come."""
    fresh = _rows(rng, at + 1, 60, len(rows))
    early = [r for r in rows if not late(r["time"])]
    after = [*early, *_late(rng, [r for r in rows if late(r["time"])], keep=False), *fresh]
    return after, _later_actions(rng, actions, after, late, at + 1, timeless)


def _later_actions(
    rng: random.Random,
    actions: list[Row],
    rows: list[Row],
    late: Callable[[float], bool],
    low: int,
    timeless: bool,
) -> list[Row]:
    """Other actions from ``low`` on; without a time in the task, only about rows that are late."""
    about = {r["row"]: r["time"] for r in rows}
    if timeless:
        known = [a for a in actions if not late(about.get(a["row"], END))]
        return [*known, *_actions(rng, [r for r in rows if late(r["time"])], low)]
    return [*(a for a in actions if not late(a["at"])), *_actions(rng, rows, low)]


def _pairs(splits: dict[str, Any], quick: Callable[[str, str], bool]) -> list[Any]:
    """Every grouping with every split; those that are not quick are slow tests."""
    return [
        pytest.param(g, s, marks=() if quick(g, s) else pytest.mark.slow)
        for g in GROUPINGS
        for s in splits
    ]


def _labels_end_in_time(trained: dict[str, list[Row]], split: dict[str, Any], delay: int) -> None:
    """No label of a part lies at or after the next one, nor within the gap before it."""
    last = {"train": -math.inf, "valid": -math.inf}
    first = math.inf
    for rows in trained.values():
        for row in rows:
            time = row["context"]["time"]
            last[row["split"]] = max(last[row["split"]], time + delay)
            first = min(first, time) if row["split"] == "valid" else first
    gap = int(split.get("gap", "0s")[:-1])
    for part, following in (("train", min(first, TEST)), ("valid", TEST)):
        assert last[part] + gap <= following - ("at" in split)


@pytest.mark.long
@pytest.mark.parametrize(
    ("grouping", "split"),
    _pairs(TIMES, lambda g, s: s == ("at, valid_at, gap" if len(g) % 2 else "lengths, gap")),
)
def test_by_time_later_labels_change_nothing(grouping: str, split: str, tmp_path: Path) -> None:
    task = _task(grouping, {"by": "time", **TIMES[split]})
    before: Any = {}
    for attempt in range(10):
        rng = random.Random(f"{grouping} {split} {attempt}")
        rows = _rows(rng, 0, 90)
        actions = _actions(rng, rows, 0)
        _write(tmp_path, rows, actions, by_path=False)
        with suppress(DataError):  # by chance nothing lies before the gap
            before = _trained(task, tmp_path)
            break
    assert before
    delay = WINDOW if grouping == "lists with a window" else 0
    _labels_end_in_time(before, TIMES[split], delay)
    # Lengths of time are counted back, and end with the moment itself.
    absolute, timeless = "at" in TIMES[split], grouping == TIMELESS

    def late(time: float) -> bool:
        return time >= TEST if absolute else time > TEST

    _write(tmp_path, *_changed(rng, rows, actions, late, TEST, timeless), by_path=False)
    after = _trained(task, tmp_path)
    assert before == after
    # What validates is as late to training as what tests.
    valid_at = min((r[0]["time"] for r in before.values() if r[0]["split"] == "valid"), default=0)
    if valid_at:
        begin = VALID if absolute else int(valid_at) - 1

        def later(time: float) -> bool:
            return time >= begin if absolute else time > begin

        _write(tmp_path, *_changed(rng, rows, actions, later, begin, timeless), by_path=False)
        again = _trained(task, tmp_path)
        train = [
            {k: v for k, v in of.items() if v[0]["split"] == "train"} for of in (before, again)
        ]
        assert train[0] == train[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grouping", "split"),
    _pairs(OTHERS, lambda g, s: s in ("last", "column") or g == "blocks"),
)
def test_later_labels_change_nothing_earlier(grouping: str, split: str, tmp_path: Path) -> None:
    if grouping == "lists without a window":
        pytest.skip("such labels are never final: only a split by time says what counts")
    rng = random.Random(f"{grouping} {split}")
    task = _task(grouping, OTHERS[split])
    rows = _rows(rng, 0, 90)
    actions = _actions(rng, rows, 0)
    by_path = split == "path"
    _write(tmp_path, rows, actions, by_path)
    before = _trained(task, tmp_path)
    # Where blocks are counted back, the number of a subject's rows says which is the last: they
    # keep their times. Rows that a file holds out may come and go.
    held = split in ("column", "path", "field")
    early = [r for r in rows if r["time"] < TEST]
    kept = [r for r in rows if r["time"] >= TEST and not (held and r["part"] == "test")]
    out = [r for r in rows if r["time"] >= TEST and held and r["part"] == "test"]
    fresh = [{**r, "part": "test"} for r in _rows(rng, TEST, 25, len(rows))] if held else []
    late = [*_late(rng, kept, keep=True), *_late(rng, out, keep=False), *fresh]
    every = [*early, *late]
    acted = _later_actions(
        rng, actions, every, lambda time: time >= TEST, TEST, grouping == TIMELESS
    )
    _write(tmp_path, every, acted, by_path)
    after = _trained(task, tmp_path)
    delay = WINDOW if grouping == "lists with a window" else 0
    compared = 0
    for name, candidates in before.items():
        if all(c["context"]["time"] + delay < TEST for c in candidates):
            assert after[name] == candidates
            compared += 1
    # A query's rows make one request there, and that is the last.
    assert compared or (grouping, split) == ("judgements", "last")
