"""A run on a cluster elsewhere, through Ray's client: ``--on ray://HOST:PORT``."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from promptrank.errors import InputError
from promptrank.runs.ray_session import WantedWorkers, ray_session
from support.processes import kill

# Not beside each other: clusters that start at once on one machine wait too long for each other.
pytestmark = pytest.mark.xdist_group("ray")

ROOT = Path(__file__).parent.parent
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-this-test-alone-0123456789abcdef"}

# Workers as fast as other processes, and a minute more for the server that each client has.
PATIENT = {"RAY_worker_niceness": "0", "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120"}


def test_a_client_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**given: Any) -> None:
        raise ImportError("No module named 'grpc'")

    ray = SimpleNamespace(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    words = r"ray://far:10001: .*No module named 'grpc'.*pip install 'ray\[client\]'"
    with pytest.raises(InputError, match=words), ray_session(WantedWorkers("ray://far:10001")):
        pass


def free_ports(count: int) -> list[int]:
    """Below those that Ray takes for its workers."""
    free: list[int] = []
    for port in range(9100 + os.getpid() % 400, 9900):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)):
                free.append(port)
        if len(free) == count:
            break
    return free


@pytest.fixture
def head() -> Iterator[int]:
    """A cluster of one machine that asks for a token; the port of its client server."""
    port, client = free_ports(2)
    folder = tempfile.mkdtemp(prefix="ray-")  # short, since Ray names sockets in it
    words = ["start", "--head", "--block", "--num-cpus", "2", "--node-ip-address", "127.0.0.1"]
    words += ["--port", str(port), "--ray-client-server-port", str(client)]
    words += ["--include-dashboard", "false", "--disable-usage-stats", "--temp-dir", folder]
    running = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **TOKEN, "PYTHONPATH": str(ROOT), **PATIENT},
    )
    try:
        while running.poll() is None:
            with socket.socket() as trial:
                if not trial.connect_ex(("127.0.0.1", client)):
                    break
            time.sleep(0.05)
        yield client
    finally:
        family = psutil.Process(running.pid).children(recursive=True)
        running.terminate()
        running.wait(60)
        for process in psutil.wait_procs(family, timeout=10)[1]:
            kill(process)
        shutil.rmtree(folder, ignore_errors=True)


def command(root: Path, *more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    words = ["rank", "toys/like", "--engine", "fake", "--project", str(root), "--shard", "3"]
    words += ["--requests", str(root / "requests.jsonl"), "--threads", "1", *more]
    return subprocess.run(
        [sys.executable, "-m", "promptrank", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def write_requests(root: Path) -> None:
    with (root / "requests.jsonl").open("w", encoding="utf-8") as file:
        for number in range(24):
            for name in ("a", "b"):
                row: dict[str, Any] = {"request_id": f"r{number:02}", "item_id": name}
                row |= {"item": {"title": f"Toy {name}", "color": "red"}}
                row |= {"member": {"name": f"Person {number}"}}
                file.write(json.dumps(row) + "\n")


@pytest.mark.slow
def test_the_files_are_those_of_one_process(toys: Path, head: int) -> None:
    write_requests(toys)
    assert command(toys, "--run", str(toys / "local")).returncode == 0
    on = ["--run", str(toys / "run"), "--on", f"ray://127.0.0.1:{head}", "--workers", "2"]
    done = command(toys, *on, **TOKEN)
    if "Starting Ray client server failed" in done.stderr:  # Ray does not wait long for its own
        done = command(toys, *on, **TOKEN)
    assert done.returncode == 0, done.stderr
    assert files(toys / "run") == files(toys / "local")


@pytest.mark.slow
def test_an_address_where_nobody_answers_is_told(toys: Path) -> None:
    write_requests(toys)
    on = f"ray://127.0.0.1:{free_ports(1)[0]}"
    done = command(toys, "--run", str(toys / "run"), "--on", on)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert f"--on {on}: no Ray cluster answers there" in last and "RAY_AUTH_TOKEN" in last
    assert "Traceback" not in done.stderr
    assert not (toys / "run").exists()
