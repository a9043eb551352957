"""Processes that prepare prompts: the files of a run are those without them, whatever happens."""

from pathlib import Path
from typing import Any

import pytest

from promptrank.api.rank_run import rank_run
from promptrank.runs.sharded_run import RunSummary

TASK = "toys/like"


def run(root: Path, folder: str, **more: Any) -> RunSummary:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3} | more
    return rank_run(TASK, root / folder, **given)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run but what only tells of its start, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("processes", [1, 2])
def test_the_files_are_those_without(toys: Path, processes: int) -> None:
    once = run(toys, "without")
    told: list[int] = []
    done = run(toys, "with", prepare=processes, progress=lambda number, total: told.append(number))
    assert files(toys / "with") == files(toys / "without")
    assert done.counted == once.counted
    assert told[-1] == done.counted.requests
