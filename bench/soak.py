"""An hour of mixed traffic against one server: nothing fails, and memory stays flat.

    python bench/soak.py [--minutes 60] [--clients 6] [--model NAME] [--seed 0]

The server has a student for movies/like and a decoder for rerank/generic. Clients draw from all
APIs, wrong bodies, deadlines that cannot be kept, and connections that close before their answer.
The last line is for machines: ``failed`` counts answers that should have been 200 (or, for wrong
bodies, a status from 400 to 499) and were not; ``memory_growth`` is the median of the resident
memory in the last quarter over that of the second one, minus 1.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2 as httpx
import psutil
from _servers import rank_body, serve

from promptrank import build, distill
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task

STUDENT, DECODER = "movies/like", "rerank/generic"
WORDS = ("warm", "winter", "coat", "red", "running", "shoe", "lamp", "scarf", "for", "cold", "days")
SAMPLED = 2.0  # seconds between two looks at memory


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        kind: in the table that is printed.
        body: bytes as they are sent; None for a GET.
        wanted: the statuses that are right.
        leaves: seconds after which the client closes the connection; None to wait.
    """

    kind: str
    path: str
    body: bytes | None = None
    wanted: range | tuple[int, ...] = (200,)
    headers: dict[str, str] = field(default_factory=dict)
    leaves: float | None = None


class Draws:
    """Calls by chance."""

    def __init__(self, ranked: Sequence[str], seed: int) -> None:
        """Take bodies of ``/v1/rank`` for the student."""
        self._ranked, self._random = ranked, random.Random(seed)

    def next(self) -> Call:
        """The next call."""
        kinds = {
            self._student: 40,
            self._rerank: 30,
            self._score: 6,
            self._look: 10,
            self._wrong: 20,
            self._late: 6,
            self._leaving: 6,
        }
        (draw,) = self._random.choices(list(kinds), list(kinds.values()))
        return draw()

    def _text(self) -> str:
        return " ".join(self._random.choices(WORDS, k=self._random.randint(2, 30)))

    def _student(self) -> Call:
        return Call("rank", "/v1/rank", self._random.choice(self._ranked).encode())

    def _rerank(self) -> Call:
        texts = [self._text() for _ in range(self._random.randint(1, 6))]
        query, model = self._text(), DECODER
        documents = {"model": model, "query": query, "documents": texts}
        bodies: list[tuple[str, dict[str, Any]]] = [
            ("/v2/rerank", documents),
            ("/cohere/v1/rerank", {**documents, "return_documents": True}),
            ("/jina/v1/rerank", {**documents, "top_n": 1}),
            ("/voyage/v1/rerank", {**documents, "top_k": 2}),
            ("/vllm/v1/rerank", documents),
            ("/score", {"model": model, "text_1": query, "text_2": texts}),
        ]
        path, body = self._random.choice(bodies)
        return Call("rerank", path, json.dumps(body).encode())

    def _score(self) -> Call:
        pairs = [{"query": self._text(), "item": {"text": self._text()}} for _ in range(2)]
        return Call("score", "/v1/score", json.dumps({"task": DECODER, "pairs": pairs}).encode())

    def _look(self) -> Call:
        paths = ["/health", "/ready", "/metrics", "/v1/tasks", "/openapi.json"]
        return Call("look", self._random.choice(paths))

    def _wrong(self) -> Call:
        good = self._random.choice(self._ranked).encode()
        path, body = self._random.choice(
            [
                ("/v1/rank", good[: self._random.randrange(len(good))]),
                ("/v1/rank", b"[" * 5000),
                ("/v1/rank", b'{"request": {"candidates": "none"}}'),
                ("/v1/rank", b'{"task": "no/such", "request": {"candidates": [{"item": {}}]}}'),
                ("/v2/rerank", b'{"query": 7, "documents": [1, null]}'),
                ("/voyage/v1/rerank", b"\xff\xfe{}"),
                ("/score", b"null"),
                ("/no/such/path", b"{}"),
            ]
        )
        return Call("wrong", path, body, range(400, 500))

    def _late(self) -> Call:
        call = self._rerank()
        headers = {"X-Deadline-Ms": str(self._random.randint(1, 60))}
        return Call("late", call.path, call.body, (200, 429, 504), headers)

    def _leaving(self) -> Call:
        call = self._random.choice([self._student, self._rerank])()
        return Call("leaving", call.path, call.body, leaves=self._random.random() / 5)


@dataclass
class Seen:
    """What came of it.

    Attributes:
        calls: by kind and status; 0 for no answer.
        failed: what should not have been, a line each.
        memory: (seconds from the start, bytes) of the server.
    """

    calls: Counter[tuple[str, int]] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)

    def growth(self) -> float:
        """Of the median memory from the second quarter to the last one."""
        end = self.memory[-1][0]
        second = [size for at, size in self.memory if end / 4 <= at < end / 2]
        last = [size for at, size in self.memory if at >= 3 * end / 4]
        return statistics.median(last) / statistics.median(second) - 1


async def client(port: int, draws: Draws, end: float, seen: Seen) -> None:
    """One client, until the end."""
    async with httpx.AsyncClient(base_url=f"http://localhost:{port}", timeout=120) as http:
        while time.monotonic() < end:
            call = draws.next()
            if call.leaves is not None:
                await leave(port, call)
                seen.calls[call.kind, 0] += 1
                continue
            headers = {"Content-Type": "application/json", **call.headers}
            try:
                if call.body is None:
                    answer = await http.get(call.path)
                else:
                    answer = await http.post(call.path, content=call.body, headers=headers)
            except httpx.HTTPError as error:
                seen.failed.append(f"{call.path}: {type(error).__name__}: {error}")
                continue
            seen.calls[call.kind, answer.status_code] += 1
            if answer.status_code not in call.wanted:
                seen.failed.append(f"{call.path}: {answer.status_code} {answer.text[:200]}")


async def leave(port: int, call: Call) -> None:
    """Send it, and close the connection without waiting for the answer."""
    assert call.body is not None and call.leaves is not None
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {call.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + f"Content-Length: {len(call.body)}\r\n\r\n".encode() + call.body)
    await asyncio.sleep(call.leaves)
    writer.transport.abort()


async def watch(process: psutil.Process, end: float, seen: Seen) -> None:
    """Look at the server's memory until the end; print it each minute."""
    start, told = time.monotonic(), 0
    while (now := time.monotonic()) < end:
        seen.memory.append((now - start, process.memory_info().rss))
        if now - start >= 60 * (told + 1):
            told += 1
            calls, size = sum(seen.calls.values()), seen.memory[-1][1] / 1e6
            print(f"minute {told}: {calls:,} calls, {size:.1f} MB, {len(seen.failed)} failed")
        await asyncio.sleep(SAMPLED)


async def soak(port: int, process: int, given: argparse.Namespace, bodies: Sequence[str]) -> Seen:
    """All clients at once."""
    seen, end = Seen(), time.monotonic() + 60 * given.minutes
    watching = watch(psutil.Process(process), end, seen)
    draws = [Draws(bodies, given.seed * 1000 + number) for number in range(given.clients)]
    await asyncio.gather(watching, *(client(port, each, end, seen) for each in draws))
    return seen


def main() -> None:
    """Run, and print the line that is recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="of the decoder")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with TemporaryDirectory(prefix="promptrank-") as name:
        folder = Path(name)
        requests = folder / "requests.parquet"
        opened = open_task(STUDENT, project=folder)
        build(opened, requests)
        distill(opened, name="small", loss="labels", requests=requests, limit=200, labels=200)
        bodies = [rank_body(request) for request in given_file(opened, requests).read({"test"})]
        words = (STUDENT, DECODER, "--project", str(folder), "--engine", f"{STUDENT}=student:small")
        decoder = ("--engine", f"{DECODER}=packed", "--set", f"model={given.model}")
        with serve(folder, *words, *decoder) as served:
            seen = asyncio.run(soak(served.port, served.process.pid, given, bodies))
            served.process.terminate()
            ended = served.process.wait(90)
        faults = (
            (folder / "serve.log")
            .read_text(encoding="utf-8", errors="replace")
            .count('"reason":"fault"')
        )
    for (kind, status), count in sorted(seen.calls.items()):
        print(f"{kind:8} {status or 'left':4} {count:,}")
    for line in Counter(seen.failed).most_common(10):
        print(*line)
    failed = len(seen.failed) + faults + (ended != 0)
    print(
        f"minutes={given.minutes:g} requests={sum(seen.calls.values())} failed={failed} "
        f"memory_growth={seen.growth():+.4f}"
    )


if __name__ == "__main__":
    main()
