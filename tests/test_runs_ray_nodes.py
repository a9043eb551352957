"""A cluster that loses a machine under a run: the run goes on with what is left."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.processes import kill, title

# Not beside each other: clusters that start at once on one machine wait too long for each other.
pytestmark = pytest.mark.xdist_group("ray")

ROOT = Path(__file__).parent.parent
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-this-test-alone-0123456789abcdef"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one CPU each, on this machine."""
    more = {**TOKEN, "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    for name, value in {**more, "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    from ray import _raylet
    from ray.cluster_utils import Cluster

    untyped: Any = _raylet
    loader = untyped.AuthenticationTokenLoader.instance()
    loader.reset_cache()  # else it has the token of the last cluster that this process began
    two_nodes: Any = Cluster  # Ray does not type it
    made = two_nodes(initialize_head=False)
    try:
        made.add_node(num_cpus=1, include_dashboard=False, wait=False)
        made.wait_for_nodes(timeout=180)
        yield made
    finally:
        made.shutdown()
        loader.reset_cache()


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def started(root: Path, folder: str, *more: str) -> "subprocess.Popen[str]":
    words = ["rank", "toys/like", "--engine", "fake", "--project", str(root), "--shard", "1"]
    words += ["--requests", str(root / "many.jsonl"), "--run", str(root / folder), *more]
    return subprocess.Popen(
        [sys.executable, "-m", "promptrank", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ,
        encoding="utf-8",
    )


def workers(pid: int) -> list[psutil.Process]:
    """Those that rank under a raylet."""
    family = psutil.Process(pid).children(recursive=True)
    return [each for each in family if title(each).startswith("ray::RankingWorker")]


@pytest.mark.slow
def test_a_run_goes_on_without_a_machine_that_is_gone(toys: Path, cluster: Any) -> None:
    with (toys / "many.jsonl").open("w", encoding="utf-8") as file:
        for number in range(800):
            item = {"title": f"Toy {number}", "color": "red"}
            row: dict[str, Any] = {"request_id": f"r{number:03}", "item_id": "a", "item": item}
            file.write(json.dumps(row | {"member": {"name": f"Person {number}"}}) + "\n")
    local = started(toys, "local", "--threads", "1")
    said = local.communicate(timeout=400)[1]
    assert local.returncode == 0, said
    second = cluster.add_node(num_cpus=1, wait=False)
    cluster.wait_for_nodes(timeout=180)
    raylet = second.all_processes["raylet"][0].process.pid
    running = started(toys, "run", "--on", cluster.address, "--workers", "2", "--threads", "1")
    shards = toys / "run" / "shards"
    while running.poll() is None and not (len(list(shards.glob("*.json"))) > 4 and workers(raylet)):
        time.sleep(0.02)
    assert running.poll() is None, running.communicate()[1]
    lost = workers(raylet)
    os.kill(raylet, 9)
    try:
        said = running.communicate(timeout=600)[1]
    finally:  # without its raylet a worker may outlive the run
        for worker in lost:
            kill(worker)
    assert running.returncode == 0, said
    assert files(toys / "run") == files(toys / "local")
