"""Runs of a few requests by one ranker that stays open, for tests that run many times."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from promptrank.engine.contract import Steps, Tree, Window
from promptrank.engine.fake import FakeEngine
from promptrank.ranking.ranker import Ranker
from promptrank.requests.source import RequestFile
from promptrank.runs.sharded_run import RunSummary, score_shards
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task

TASK = "toys/like"
AT_ONCE = 4


class SteppingEngine(FakeEngine):
    """The fake engine, four trees a step; what it is to do otherwise, tests lay on ``asked``."""

    window = Window(AT_ONCE, 1000)

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """All of them in one step."""
        for start in range(0, len(trees), AT_ONCE):
            together = trees[start : start + AT_ONCE]
            self.asked([tree.tree_id for tree in together])
            ready = [pair for steps in super().begin(together) for pair in steps]
            yield [(start + place, score) for place, score in ready]

    def asked(self, ids: list[str]) -> None:
        """What is about to be answered."""


class Scoring:
    """Requests ``r0`` to ``r19`` of two candidates each, and who ranks them.

    Attributes:
        engine: that of the ranker.
    """

    COUNT = 20

    def __init__(self, root: Path) -> None:
        """Open the task ``toys/like`` of a project of toys."""
        path = root / "requests.jsonl"
        shared = {"member_id": "m", "member": {"name": "Ann"}}
        rows: list[dict[str, Any]] = [
            {
                **shared,
                "request_id": f"r{n}",
                "candidate_id": c,
                "item_id": c,
                "item": {"title": c, "color": "red"},
            }
            for n in range(self.COUNT)
            for c in (f"ball {n}", f"car {n}")
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        opened = open_task(TASK, project=root)
        self.engine = SteppingEngine()
        self.ranker: Ranker = open_ranker(opened, engine="fake")
        self.ranker.put_before(self.engine)
        self.file: RequestFile = given_file(opened, path)

    def run(self, folder: Path, **more: Any) -> RunSummary:
        """Score them into a folder, eight a shard, or go on there."""
        return score_shards(folder, self.ranker, self.file, {}, **({"size": 8} | more))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Rows of scores, in the order of the requests."""
    paths = sorted(folder.glob("scores/*"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def errors_of(folder: Path) -> list[dict[str, str]]:
    """Error rows, in their order."""
    paths = sorted(folder.glob("errors/*"))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a run, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
