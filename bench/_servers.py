"""Servers as processes of their own: promptrank's and vLLM's, on any free port of this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from promptrank.engine.contract import Tree
from promptrank.engine.vllm_engine.launch import Launch, environment
from promptrank.records import Event, Item, Request

ROOT = Path(__file__).parent.parent


class NotStarted(Exception):
    """A server was not ready in time, or has ended; with the end of its log."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that is ready."""

    port: int
    process: "subprocess.Popen[bytes]"

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stopped meanwhile: an idle vLLM polls, and others have their turn."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.process.pid, signal.SIGCONT)


@contextmanager
def serve(
    folder: Path, *words: str, cores: Sequence[int] | None = None, seconds: float = 300
) -> Iterator[Served]:
    """``promptrank serve`` with these words; its log is ``serve.log`` in the folder.

    Args:
        cores: that it may use; all where left out.
        seconds: for which it may load.
    """
    port = _free_port()
    # The benchmark's own setting of threads is none of the server's.
    own = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "promptrank", "serve", *words, "--port", str(port)]
    with _process(command, {**own, "PYTHONPATH": path}, folder / "serve.log") as process:
        if cores is not None:
            os.sched_setaffinity(process.pid, cores)
        _wait(process, f"http://127.0.0.1:{port}/ready", seconds, folder / "serve.log")
        yield Served(port, process)


@contextmanager
def serve_vllm(
    model: Path, folder: Path, way: tuple[int, bool, bool], threads: int, seconds: float = 300
) -> Iterator[Served]:
    """vLLM's own server over a model; its log is ``vllm.log`` in the folder.

    Args:
        way: block size, eager, worker process; as of `_vllm.ways`.
    """
    block, eager, workers = way
    port = _free_port()
    settings = Launch(str(model), "float32", 1024, threads, eager=eager, workers=workers)
    # `vllm serve` looks for a package of its own name, which the build for CPUs has not.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "model", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--max-model-len", "1024", "--block-size", str(block)]
    command += ["--enable-prefix-caching", "--hf-overrides", '{"head_dtype": "float32"}']
    command += ["--enforce-eager"] if eager else []
    variables = {**environment(settings), "VLLM_CPU_KVCACHE_SPACE": "2"}
    with _process(command, variables, folder / "vllm.log") as process:
        _wait(process, f"http://127.0.0.1:{port}/health", seconds, folder / "vllm.log")
        yield Served(port, process)


@contextmanager
def _process(
    command: Sequence[str], variables: dict[str, str], log: Path
) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=variables,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", url: str, seconds: float, log: Path) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise NotStarted(
        f"no server at {url}:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
    )


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def rank_body(request: Request) -> str:
    """A request as the body of ``/v1/rank``."""
    subject = request.subject

    def item(of: Item) -> dict[str, Any]:
        return {"item_id": of.item_id, "item": dict(of.fields)}

    def event(of: Event) -> dict[str, Any]:
        given = {"time": of.time, "action": of.action, "stats": dict(of.stats)}
        return {**item(of.item), **given, "outcomes": dict(of.outcomes)}

    candidates = [
        {
            **item(each.item),
            "candidate_id": each.candidate_id,
            "context": dict(each.context),
            "stats": dict(each.stats),
            "baseline": dict(each.baseline),
        }
        for each in request.candidates
    ]
    member = {"member_id": subject.member_id, "member": dict(subject.member or {})}
    times = {"request_id": request.request_id, "time": request.time}
    history = [event(each) for each in request.history]
    return json.dumps(
        {"request": {**times, **member, "history": history, "candidates": candidates}}
    )


def completion_body(tree: Tree) -> str:
    """A tree as the body of vLLM's ``/v1/completions``: a prompt for each candidate.

    One new token each, whose log-probs are asked for by the ids of the answers.
    """
    slot = tree.branches[0].slots[0]
    if any(len(path) != 1 for path in slot.paths):
        raise SystemExit("answers of several tokens: vLLM's server cannot be asked so")
    return json.dumps(
        {
            "model": "model",
            "prompt": [[*tree.prefix, *b.ids, *b.slots[0].ids] for b in tree.branches],
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 1,
            "logprob_token_ids": [path[0] for path in slot.paths],
            "return_tokens_as_token_ids": True,
        }
    )


def completion_logprobs(text: str, tree: Tree) -> list[float]:
    """The answers' log-probs in vLLM's answer, candidate after candidate."""
    wanted = [f"token_id:{path[0]}" for path in tree.branches[0].slots[0].paths]
    choices = sorted(json.loads(text)["choices"], key=lambda choice: choice["index"])
    return [choice["logprobs"]["top_logprobs"][0][name] for choice in choices for name in wanted]
