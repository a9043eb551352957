"""Shards of another run that lie in a run's folder: nothing of them is taken for the run's own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from promptrank.api.purge import purge
from promptrank.api.rank_run import rank_run
from promptrank.runs.shards import numbers

TASK = "toys/like"


def run(root: Path, folder: Path, **more: Any) -> Any:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3} | more
    return rank_run(TASK, folder, **given)


@pytest.mark.long
def test_since_and_a_purge_leave_them_out(toys: Path) -> None:
    run(toys, toys / "first", size=1000)
    run(toys, toys / "other", splits={"train"})
    whole = json.loads((toys / "first/summary.json").read_text())
    assert len(numbers(toys / "other")) > 1
    shutil.copytree(toys / "first", toys / "mixed")
    for number in numbers(toys / "other")[1:]:
        facts = json.loads((toys / f"other/shards/{number:06}.json").read_text())
        for name in (*facts["files"], f"shards/{number:06}.json"):
            (toys / "mixed" / name).parent.mkdir(exist_ok=True)
            shutil.copy(toys / "other" / name, toys / "mixed" / name)
    clean = run(toys, toys / "one", splits={"train"}, since=toys / "first").counted
    assert run(toys, toys / "two", splits={"train"}, since=toys / "mixed").counted == clean
    assert clean.reused == 0
    purge("p1", project=toys, runs=[toys / "mixed"])
    told = json.loads((toys / "mixed/summary.json").read_text())
    assert told["purged"] and told["candidates"] == whole["candidates"]
