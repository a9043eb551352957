"""Clients of a server on this machine, in a process of their own, cheap enough to be left out.

Run as a script this is that process. It reads lines of JSON (a `Load` each) and answers each with a
`Measured`: bodies are made bytes before the clock starts, connections are kept alive, and of an
answer only the status is read while the clock runs.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients do.

    Attributes:
        port: of 127.0.0.1.
        path: where bodies go.
        bodies: JSON texts, sent one after another, over and over.
        seconds: for which requests are sent.
        clients: who send one request after another (closed loop); 0 for an open loop.
        rate: requests a second that arrive by chance (Poisson), whatever was answered.
        headers: of every request.
        first: number of the body that is sent first.
        keep: so many answers are given back whole, the first ones by number of their body.
        seed: of the arrivals.
    """

    port: int
    path: str
    bodies: Sequence[str]
    seconds: float
    clients: int = 0
    rate: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    first: int = 0
    keep: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """What came back.

    Attributes:
        begun: seconds from the start at which each request was sent (open loop: was due).
        ended: seconds from the start at which each was answered.
        status: of HTTP; 0 where the connection was lost.
        body: number of each request's body.
        kept: number of a body -> the text of its first answer.
        cpu: share of one core that the clients took while they ran.
    """

    begun: list[float]
    ended: list[float]
    status: list[int]
    body: list[int]
    kept: dict[str, str]
    cpu: float

    def count(self, status: int) -> int:
        """Requests that ended so."""
        return sum(each == status for each in self.status)

    def milliseconds(self, share: float) -> float:
        """A quantile of the time from sending a request to its answer, of those with a 200."""
        times = sorted(
            end - begin
            for begin, end, status in zip(self.begun, self.ended, self.status, strict=True)
            if status == 200
        )
        return 1000 * times[min(len(times) - 1, int(share * len(times)))] if times else float("nan")

    def rate(self, warm: int) -> float:
        """Requests answered with 200 a second, between two answers, without the first ``warm``.

        Where few are answered, half of them are left out at most. Both ends are moments of answers,
        so that what is under way at an end counts for nothing.
        """
        pairs = zip(self.ended, self.status, strict=True)
        ends = sorted(end for end, status in pairs if status == 200)
        ends = ends[min(warm, len(ends) // 2) :]
        if len(ends) < 2 or ends[-1] <= ends[0]:
            return float("nan")
        return sum(end > ends[0] for end in ends) / (ends[-1] - ends[0])

    def good(self, start: float, end: float, limit: float) -> float:
        """Requests a second that were answered in a span of seconds, with 200 and in time.

        Args:
            limit: seconds from a request to its answer.
        """
        rows = zip(self.begun, self.ended, self.status, strict=True)
        return sum(start <= e < end and s == 200 and e - b <= limit for b, e, s in rows) / (
            end - start
        )


class Clients:
    """The process, and how to ask it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def send(self, load: Load) -> Measured:
        """Carry a load out; returns when all is answered."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(load)) + "\n")
        self._process.stdin.flush()
        return Measured(**json.loads(self._process.stdout.readline()))


@contextmanager
def clients(cores: Sequence[int] | None = None) -> Iterator[Clients]:
    """Clients on these cores; on any where left out."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    )
    if cores is not None:
        os.sched_setaffinity(process.pid, cores)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield Clients(process)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


class _Connection(asyncio.Protocol):
    """One connection, and one request at a time on it."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._buffer = bytearray()
        self._needed: int | None = None  # bytes of head and body together
        self._answer: asyncio.Future[int] | None = None
        self.text = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        """The status to come; 0 where the connection is lost."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self._answer.set_result(0)
        else:
            self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._needed is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._needed = end + 4 + int(length)
            self._head = end + 4
        if len(self._buffer) >= self._needed:
            status = int(self._buffer[9:12])
            self.text = bytes(self._buffer[self._head : self._needed])
            self._buffer.clear()
            self._needed = None
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    @property
    def open(self) -> bool:
        """Whether it can be asked."""
        return not self._transport.is_closing()

    def close(self) -> None:
        """For good."""
        self._transport.close()


class _Sending:
    """A load being carried out."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.requests = [_request(load, body) for body in load.bodies]
        self.measured = Measured([], [], [], [], {}, 0.0)
        self._start = 0.0
        self._next = load.first
        self._idle: deque[_Connection] = deque()

    async def run(self) -> Measured:
        cpu, self._start = time.process_time(), time.perf_counter()
        await (self._closed() if self.load.clients else self._open())
        spent = time.perf_counter() - self._start
        made = self.measured
        for connection in self._idle:
            connection.close()
        share = (time.process_time() - cpu) / spent
        return Measured(made.begun, made.ended, made.status, made.body, made.kept, share)

    async def _closed(self) -> None:
        async def client() -> None:
            while self._now() < self.load.seconds:
                await self._ask(self._now())

        await asyncio.gather(*(client() for _ in range(self.load.clients)))

    async def _open(self) -> None:
        chance, due = random.Random(self.load.seed), 0.0
        under_way: set[asyncio.Task[None]] = set()
        while (due := due + chance.expovariate(self.load.rate)) < self.load.seconds:
            await asyncio.sleep(max(0.0, due - self._now()))
            # Its time counts from when it was due, not from when these clients came to it.
            task = asyncio.create_task(self._ask(due))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)

    async def _ask(self, begun: float) -> None:
        number = self._next % len(self.requests)
        self._next += 1
        connection = await self._connection()
        status = await connection.ask(self.requests[number])
        ended, made = self._now(), self.measured
        made.begun.append(begun)
        made.ended.append(ended)
        made.status.append(status)
        made.body.append(number)
        if status == 200 and len(made.kept) < self.load.keep:
            made.kept.setdefault(str(number), connection.text.decode())
        self._idle.append(connection)

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(_Connection, "127.0.0.1", self.load.port)
        return made

    def _now(self) -> float:
        return time.perf_counter() - self._start


def _request(load: Load, body: str) -> bytes:
    content = body.encode()
    headers = {
        "Host": "localhost",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **load.headers,
    }
    lines = [f"POST {load.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def _serve() -> None:
    for line in sys.stdin:
        measured = asyncio.run(_Sending(Load(**json.loads(line))).run())
        print(json.dumps(asdict(measured)), flush=True)


if __name__ == "__main__":
    _serve()
