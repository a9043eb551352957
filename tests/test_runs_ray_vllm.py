"""vLLM in a worker of Ray: its scores, and the end of its worker."""

import json
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from promptrank.api.rank_run import rank_run
from support.models import make_model
from support.processes import kill, title
from support.toys import make_project
from support.vllm import skip_without_vllm

# Not beside each other: clusters that start at once on one machine wait too long for each other.
pytestmark = pytest.mark.xdist_group("ray")


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [
        row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


@pytest.mark.slow
def test_scores_are_those_of_packed_though_the_worker_is_killed(tmp_path: Path) -> None:
    skip_without_vllm()
    project = make_project(tmp_path / "toys", make_model(tmp_path / "model", head_dim=32))
    with (project / "requests.jsonl").open("w", encoding="utf-8") as file:
        for number in range(12):
            for place in range(3):
                item = {"title": f"Toy {number} {place}", "color": "red"}
                row = {"request_id": f"r{number:02}", "item_id": f"t{place}", "item": item}
                member = {"member": {"name": f"Person {number}"}}
                file.write(json.dumps(row | member) + "\n")

    killed: list[psutil.Process] = []

    def kill_once(done: int, total: int | None) -> None:
        if done and not killed:
            for process in psutil.Process().children(recursive=True):
                if title(process).startswith("ray::RankingWorker"):
                    killed.append(process)
                    kill(process)

    requests = project / "requests.jsonl"
    packed = rank_run(
        "toys/like", tmp_path / "packed", requests=requests, project=project, size=3, threads=1
    )
    done = rank_run(
        "toys/like",
        tmp_path / "run",
        requests=requests,
        project=project,
        size=3,
        engine="vllm",
        on="ray",
        workers=1,
        progress=kill_once,
    )
    assert killed and done.counted.errors == 0
    assert done.counted.scored == packed.counted.scored == 36
    scores = [
        {
            (row["request_id"], row["item_id"]): row["score"]
            for row in _rows(tmp_path / folder / "scores")
        }
        for folder in ("packed", "run")
    ]
    assert scores[0].keys() == scores[1].keys()
    for key, score in scores[0].items():
        assert scores[1][key] == pytest.approx(score, abs=1e-4)
