"""Examples as rows of an Arrow table, and back, every number and every id as it was."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from promptrank.engine.contract import Branch, Slot
from promptrank.training.examples import Example, PathTarget, TurnTarget

_IDS = pa.list_(pa.int32())
_PATHS = pa.list_(_IDS)
_SLOT = pa.struct([("ids", _IDS), ("paths", _PATHS)])
_TARGET = pa.struct(
    [
        ("paths", _PATHS),
        ("shares", pa.list_(pa.float64())),
        ("relevant", pa.list_(pa.bool_())),
        ("value", pa.float64()),
        ("weight", pa.float64()),
    ]
)
_BRANCH = pa.struct(
    [
        ("candidate_id", pa.string()),
        ("ids", _IDS),
        ("slots", pa.list_(_SLOT)),
        ("targets", pa.list_(_TARGET)),
    ]
)
_TURN = pa.struct(
    [
        ("question", pa.string()),
        ("answer", pa.string()),
        ("at", pa.int32()),
        ("path", _IDS),
        ("others", _IDS),
        ("weight", pa.float64()),
    ]
)

SCHEMA = pa.schema(
    [
        ("place", pa.int64()),
        ("request_id", pa.string()),
        ("prefix", _IDS),
        ("branches", pa.list_(_BRANCH)),
        ("turns", pa.list_(_TURN)),
    ]
)
"""``place`` is the example's in the sample; rows stand as the request file had them. The task's
number is not kept: it belongs to a run, and another run may give the task another."""


def to_batch(places: Sequence[int], examples: Sequence[Example]) -> pa.RecordBatch:
    """One row an example."""
    rows = [_row(place, made) for place, made in zip(places, examples, strict=True)]
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


def from_row(row: Mapping[str, Any], task: int) -> Example:
    """The example of a row, for the task of this number."""
    branches = row["branches"]
    return Example(
        row["request_id"],
        task,
        tuple(row["prefix"]),
        tuple((_branch(each), tuple(map(_target, each["targets"]))) for each in branches),
        tuple(map(_turn, row["turns"])),
        candidate_ids=tuple(each["candidate_id"] for each in branches),
    )


def _row(place: int, made: Example) -> dict[str, Any]:
    return {
        "place": place,
        "request_id": made.request_id,
        "prefix": made.prefix,
        "branches": [
            {
                "candidate_id": name,
                "ids": branch.ids,
                "slots": [{"ids": slot.ids, "paths": slot.paths} for slot in branch.slots],
                "targets": [None if t is None else _fields(t) for t in targets],
            }
            for name, (branch, targets) in zip(made.candidate_ids, made.branches, strict=True)
        ],
        "turns": [_fields(turn) for turn in made.turns],
    }


def _fields(value: PathTarget | TurnTarget) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _branch(row: Mapping[str, Any]) -> Branch:
    slots = (Slot(tuple(slot["ids"]), _paths(slot["paths"])) for slot in row["slots"])
    return Branch(tuple(row["ids"]), tuple(slots))


def _target(row: Mapping[str, Any] | None) -> PathTarget | None:
    if row is None:
        return None
    return PathTarget(
        _paths(row["paths"]),
        tuple(row["shares"]),
        tuple(row["relevant"]),
        row["value"],
        row["weight"],
    )


def _turn(row: Mapping[str, Any]) -> TurnTarget:
    return TurnTarget(
        row["question"],
        row["answer"],
        row["at"],
        tuple(row["path"]),
        tuple(row["others"]),
        row["weight"],
    )


def _paths(given: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tuple, given))
