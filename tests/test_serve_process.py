"""The process: it answers while it loads, ends by SIGTERM with 0, and answers what is under way."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2 as httpx
import pytest

from promptrank.serve.app import make_app
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.look_ups import open_look_up
from promptrank.workspace.rankers import open_ranker
from support.pages import DOCS, blocks
from support.serving import hosted_of, rank_body, serving

pytestmark = pytest.mark.slow

SLOW_STEPS = """\
import sys, time
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
from promptrank.serve.app import make_app
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.running import listen, run
from promptrank.serve.shapes.every import SHAPES
from support.serving import held

hosted, listening = Hosted(["toys/like"]), listen("127.0.0.1", 0)
say = partial(print, file=sys.stderr, flush=True)

def load():
    ranker, engine = held(Path({project!r}))
    engine.open()
    begin = engine.begin
    def slowly(trees):
        say("at it")
        time.sleep(1)
        return begin(trees)
    engine.begin = slowly
    return [HostedTask("toys/like", ranker)]

say(f"http://127.0.0.1:{{listening.getsockname()[1]}}")
run(lambda span: make_app(hosted, SHAPES, lifespan=span), hosted, load, listening, say)
"""


WITH_VLLM = """\
import sys
from functools import partial
from pathlib import Path
sys.path.insert(0, {tests!r})
from promptrank.engine.contract import EngineInfo
from promptrank.engine.tree_checks import Limits
from promptrank.engine.vllm_engine import process
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.engine.vllm_engine.vllm import VllmEngine
from promptrank.runtime.runtime import Runtime
from promptrank.serve.app import make_app
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.running import listen, run
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker
from support import vllm_stub

process.check_installed = lambda: None
process.CHILD = (vllm_stub.__file__,)
say = partial(print, file=sys.stderr, flush=True)
listening, restarts = listen("127.0.0.1", 0), Restarts(say)
hosted, runtime = Hosted(["toys/like"], restarts), Runtime(restarts)

def load():
    ranker = open_ranker("toys/like", project=Path({project!r}), engine="fake")
    settings = Launch("stub", "float32", 2048, 1)
    info = EngineInfo("vllm", "stub", "0", "float32", 2048)
    ranker.opened = runtime.opened(
        "stub", lambda: VllmEngine(settings, info, Limits(2048, 100_000), restarts)
    )
    say(ranker.opened.engine.process_id)
    return [HostedTask("toys/like", ranker)]

say(f"http://127.0.0.1:{{listening.getsockname()[1]}}")
run(
    lambda span: make_app(hosted, SHAPES, lifespan=span), hosted, load, listening, say, runtime.mend
)
runtime.close()
"""


@contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its address, once it is ready."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield process, process.stderr.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def said(process: subprocess.Popen[str], line: str) -> None:
    """Read what it says up to a line."""
    assert process.stderr is not None
    for each in process.stderr:
        if each.strip() == line:
            return
    raise AssertionError(f"never said {line}")


def command(project: Path, *options: str) -> list[str]:
    serve = ["-m", "promptrank", "serve", "toys/like", "--project", str(project), "--port", "0"]
    return [sys.executable, *serve, *options]


def test_a_server_starts_ranks_and_ends_with_0(toys: Path) -> None:
    with started(command(toys, "--engine", "fake")) as (process, url):
        assert httpx.get(f"{url}/health", timeout=60).json()["state"] in ("loading", "ready")
        said(process, "ready")
        assert httpx.get(f"{url}/ready", timeout=60).status_code == 200
        answer = httpx.post(f"{url}/v1/rank", json=rank_body(), timeout=60)
        assert answer.status_code == 200 and len(answer.json()["scored"]) == 3
        # An idle connection that is kept open does not hold it up.
        with httpx.Client(base_url=url, timeout=60) as kept:
            kept.get("/health")
            process.send_signal(signal.SIGTERM)
            assert process.wait(180) == 0


def test_what_is_under_way_is_answered_after_sigterm(toys: Path) -> None:
    tests = str(Path(__file__).parent)
    script = SLOW_STEPS.format(tests=tests, project=str(toys))
    with started([sys.executable, "-c", script]) as (process, url):
        said(process, "ready")
        answers: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: answers.append(
                httpx.post(f"{url}/v1/rank", json=rank_body(), timeout=60)
            )
        )
        asking.start()
        said(process, "at it")
        process.send_signal(signal.SIGTERM)
        asking.join(30)
        assert answers[0].status_code == 200 and len(answers[0].json()["scored"]) == 3
        assert process.wait(180) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health", timeout=60)


def test_an_engine_that_dies_while_nobody_asks_is_there_again_before_anybody_does(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMPTRANK_STUB", str(tmp_path))
    script = WITH_VLLM.format(tests=str(Path(__file__).parent), project=str(toys))
    with started([sys.executable, "-c", script]) as (process, url):
        assert process.stderr is not None
        engine = int(process.stderr.readline())
        said(process, "ready")
        assert httpx.post(f"{url}/v1/rank", json=rank_body(), timeout=60).status_code == 200
        os.kill(engine, signal.SIGKILL)
        said(process, "the vLLM process that took its place answers")
        assert httpx.get(f"{url}/ready", timeout=60).status_code == 200
        assert httpx.post(f"{url}/v1/rank", json=rank_body(), timeout=60).status_code == 200
        assert (
            "promptrank_engine_restarts_total 1.0" in httpx.get(f"{url}/metrics", timeout=60).text
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(180) == 0


def test_a_task_that_cannot_be_loaded_ends_it_with_2(toys: Path) -> None:
    given = command(toys, "--engine", "fake", "--adapter", "none")
    with started(given) as (process, url):
        assert url.startswith("http://")
        assert process.wait(180) == 2
        assert process.stderr is not None and "error: no adapter" in process.stderr.read()


def test_a_port_that_is_taken_is_said_at_once(toys: Path) -> None:
    with started(command(toys, "--engine", "fake")) as (_, url):
        port = url.rpartition(":")[2]
        done = subprocess.run(
            command(toys, "--port", port), capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2 and f"--port {port}" in done.stderr


def test_one_slow_client_holds_up_nobody(toys: Path) -> None:
    import socket

    with started(command(toys, "--engine", "fake")) as (process, url):
        said(process, "ready")
        port = int(url.rpartition(":")[2])
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
        head = b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        for connection in slow:
            connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
        begun = time.monotonic()
        assert httpx.post(f"{url}/v1/rank", json=rank_body(), timeout=60).status_code == 200
        assert time.monotonic() - begun < 10  # they would hold it up for 30 s
        for connection in slow:
            connection.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_page_work(tiny_llama_path: Path, ml100k_path: Path) -> None:
    names, model = ("movies/like", "rerank/generic"), str(tiny_llama_path)
    rankers = [open_ranker(name, engine="fake", model=model) for name in names]
    hosted = hosted_of(*rankers, names=names)
    with open_look_up("movies/like") as tables, serving(make_app(hosted, SHAPES)) as url:
        movies, generic = hosted.every()
        hosted.put([replace(movies, tables=tables), generic])
        shown = blocks(DOCS / "reference" / "serving.md", "bash")
        calls = [call for text in shown for call in re.split(r"\n(?=curl )", text.strip())]
        assert len(calls) == 12
        for call in calls:
            here = call.replace("http://localhost:8000", url).replace("curl ", "curl -f ", 1)
            done = subprocess.run(["bash", "-c", here], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{call}\n{done.stdout}{done.stderr}"
            said = json.loads(done.stdout)
            assert "errors" not in said or said["errors"] == []
            assert all("error" not in pair for pair in said.get("scores", ()))
            if '"member_id": "12", "candidates"' in call:
                assert said["looked_up"]["events"] == 10 and said["looked_up"]["items"] == 3


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_tables_are_read_at_the_start_and_again_on_a_hangup(toys: Path) -> None:
    body = {"request": {"member_id": "p1", "candidates": [{"item_id": "t1"}], "time": 9e9}}
    with started(command(toys, "--engine", "fake", "--tables", "all")) as (process, url):
        said(process, "ready")
        assert process.stderr is not None
        before = httpx.post(f"{url}/v1/rank", json=body, timeout=60).json()
        assert before["looked_up"]["events"] == 4
        (listed,) = httpx.get(f"{url}/v1/tasks", timeout=60).json()["tasks"]
        ratings = toys / "ratings.csv"
        lines = ratings.read_text(encoding="utf-8").splitlines(keepends=True)
        ratings.write_text("".join(lines[:1] + [x for x in lines[1:] if not x.startswith("p1,")]))
        process.send_signal(signal.SIGHUP)
        assert any("tables read again" in line for line in process.stderr)
        after = httpx.post(f"{url}/v1/rank", json=body, timeout=60).json()
        assert after["looked_up"]["events"] == 0
        (again,) = httpx.get(f"{url}/v1/tasks", timeout=60).json()["tasks"]
        assert again["tables_as_of"] > listed["tables_as_of"]
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(180) == 0
