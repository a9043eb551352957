"""The request format: its columns, and what stands beside a request file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptrank.basics.hints import near
from promptrank.errors import DataError
from promptrank.requests.lost import REQUEST_COLUMNS, Lost

REQUIRED = ("request_id", "item_id")
CANDIDATE = (
    "candidate_id",
    "item",
    "item_row",
    "context",
    "stats",
    "position",
    "propensity",
    "weight",
    "logged_score",
    "outcomes",
    "baseline",
    "label_source",
)
COLUMNS = (*REQUIRED, *REQUEST_COLUMNS, *CANDIDATE)
EVENT = ("item_id", "item", "item_row", "action", "time", "context", "stats", "outcomes")

LOST = "lost before"
"""A column of `Rows` beside the format's: the `LostLine`s directly before a row, None for none."""

Rows = dict[str, list[Any]]
"""Columns of one part of a file; every column of the format is there, NULL where it is not."""


@dataclass(frozen=True, slots=True)
class PartPlace:
    """Where in a file a part begins.

    Attributes:
        offset: row group of a parquet file; byte of a JSONL file.
        before: rows of that group, or lines of the file, that stand before it.
    """

    offset: int = 0
    before: int = 0


@dataclass(frozen=True, slots=True)
class RowPart:
    """Some thousand rows of a file.

    Attributes:
        rows: their columns, and `LOST`.
        bad: what was wrong with lines that are no rows.
        after: the lines lost behind the last row, as in `LOST`.
        place: where it begins.
    """

    rows: Rows
    bad: Sequence[str] = ()
    after: Lost = None
    place: PartPlace = PartPlace()


def items_path_of(path: Path) -> Path:
    """The item snapshot that stands beside a request file."""
    return path.with_name(f"{path.stem}.items.arrow")


def errors_path_of(path: Path) -> Path:
    """The error rows that stand beside a request file."""
    return path.with_name(f"{path.stem}.errors.jsonl")


def check_names(path: Path, names: list[str]) -> None:
    """DataError for columns that the format does not know, or that it needs."""
    problems = [f"no column {n!r}; {near(n, COLUMNS)}" for n in names if n not in COLUMNS]
    problems += [f"column {n!r} is missing" for n in REQUIRED if n not in names]
    if problems:
        raise DataError("\n".join(f"{path}: {problem}" for problem in problems))
