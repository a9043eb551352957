"""Clients that fail, dawdle or mean harm, over real sockets: each gets its due, and nobody else."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from promptrank.ranking.ranker import Ranker
from promptrank.serve import connections
from promptrank.serve.answering import Answering
from promptrank.serve.bounds import Bounds
from promptrank.serve.hosted import Hosted
from promptrank.serve.key_file import Keys
from support.serving import HeldEngine, app_of, held, rank_body, serving
from support.toys import make_project

HEAD = b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GOOD = json.dumps(rank_body()).encode()
BOUNDS = Bounds(queue=300, body=100_000, body_seconds=0.3)


@pytest.fixture
def holding(toys: Path) -> tuple[Ranker, HeldEngine]:
    return held(toys)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path
) -> Iterator[tuple[Starlette, str]]:
    """One server for all that goes on in this file."""
    ranker, engine = held(make_project(tmp_path_factory.mktemp("faults") / "toys", tiny_llama_path))
    engine.open()
    app = app_of(ranker, bounds=BOUNDS)
    with serving(app) as url:
        yield app, url


@pytest.fixture
def url(served: tuple[Starlette, str]) -> Iterator[str]:
    """The server, which has to be as good as new after each test."""
    app, url = served
    yield url
    with connect(url) as connection:
        connection.sendall(closing(GOOD))
        said = heard(connection)
    assert said.startswith(b"HTTP/1.1 200") and said.count(b'"score":') > 3
    assert settled(app) == (0, 0, 0)


def settled(app: Starlette) -> tuple[int, int, int]:
    """Bytes that are held, requests that wait and that are ranked; 0 in the end."""
    seats, intake = app.state.answering.seats, app.state.answering.intake
    for _ in range(4000):
        if (intake.held, seats.waiting, seats.under_way) == (0, 0, 0):
            break
        time.sleep(0.005)
    return intake.held, seats.waiting, seats.under_way


def connect(url: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def sized(body: bytes, length: int | None = None) -> bytes:
    """A request with a body, of the length that it says or of another."""
    told = len(body) if length is None else length
    return HEAD + b"Content-Length: %d\r\n\r\n" % told + body


def heard(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = b""
    try:
        while part := connection.recv(65536):
            parts += part
    except ConnectionResetError:
        pass
    return parts


def answer_to(url: str, request: bytes) -> tuple[int, bytes]:
    """Status and body of the answer to these bytes, after which the server closes."""
    with connect(url) as connection:
        connection.sendall(request)
        said = heard(connection)
    head, _, body = said.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


# ---- what is wrong with bytes

CLOSE = HEAD + b"Connection: close\r\n"


def closing(body: bytes) -> bytes:
    return CLOSE + b"Content-Length: %d\r\n\r\n" % len(body) + body


def with_title(title: str) -> bytes:
    """A body with a title as it stands in JSON."""
    return GOOD.replace(b'"title": "Ball"', f'"title": {title}'.encode())


@pytest.mark.parametrize(
    ("request_", "statuses"),  # several where parsers of HTTP differ
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nA\x00B: c\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n: c\r\n\r\n", 400),
        (HEAD + b"Content-Length: seven\r\n\r\n", 400),
        (HEAD + b"Content-Length: -7\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", (400, 501)),
        (closing(GOOD[:-9]), 400),
        (closing(b"\xff" + GOOD), 400),
        (closing(b"[" * 20_000), 400),
        (closing(b'{"request":' + b"[" * 20_000 + b"]" * 20_000 + b"}"), 400),
        (closing(b'{"request": {}, "request": {}}'), 400),
        (closing(with_title("NaN")), 400),
        (closing(with_title("-Infinity")), 400),
        (closing(with_title("1e999")), 400),
        (closing(with_title("9" * 5000)), 400),
        (closing(with_title('"\\ud83d"')), 422),
        (closing(with_title('"\\ud83d\\ude00 \\u0000"')), 200),
        (closing(with_title('"tab\tand line\n"')), 400),
        (closing(b" " * 100_001), 413),
        (CLOSE + b"Content-Length: 99999999999999999999\r\n\r\n", (400, 413)),
        (CLOSE + b"Transfer-Encoding: chunked\r\n\r\n" + b"fffff\r\n" + b" " * 0xFFFFF, 413),
        (CLOSE + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n", 413),
    ],
)
def test_bytes_that_are_no_request_are_refused(
    url: str, request_: bytes, statuses: int | tuple[int, ...]
) -> None:
    said, body = answer_to(url, request_)
    assert said in (statuses if isinstance(statuses, tuple) else (statuses,)), body
    if body.startswith(b"{"):
        assert "fault" not in json.loads(body).get("error", {}).get("reason", "")


@pytest.mark.slow
def test_a_head_without_end_is_cut(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for n in range(100_000):
                connection.sendall(b"X-%d: %s\r\n" % (n, b"a" * 1000))
        except (BrokenPipeError, ConnectionResetError):
            return
    raise AssertionError("took a hundred megabytes of headers")


# ---- clients that dawdle


@pytest.mark.slow
def test_a_request_byte_by_byte_is_answered(url: str) -> None:
    with connect(url) as connection:
        for place in range(len(request := closing(GOOD))):
            connection.sendall(request[place : place + 1])
        assert heard(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.long
@pytest.mark.parametrize("coding", [b"Content-Length: 1000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_without_end_is_not_waited_for(url: str, coding: bytes) -> None:
    status, body = answer_to(url, HEAD + coding + b'\r\n1\r\n{\r\n1\r\n"')
    assert status == 408 and json.loads(body)["error"]["reason"] == "slow"


@pytest.mark.parametrize("sent", [b"", b"POST /v1/rank HT", HEAD])
def test_a_head_that_does_not_end_is_not_waited_for(
    url: str, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with connect(url) as connection:
        connection.sendall(sent)
        assert heard(connection) == b""


@pytest.mark.slow
def test_a_head_sent_slowly_is_not_waited_for_either(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with connect(url) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                connection.sendall(b"G")
                time.sleep(0.01)


@pytest.mark.slow
def test_an_answer_that_nobody_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READ_SECONDS", 0.2)
    lost, real = threading.Event(), connections.BoundedHttp.connection_lost

    def noted(self: connections.BoundedHttp, error: Exception | None) -> None:
        real(self, error)
        lost.set()

    monkeypatch.setattr(connections.BoundedHttp, "connection_lost", noted)
    large = 64 << 20  # more than all buffers between
    app = Starlette(routes=[Route("/", lambda request: Response(b"x" * large))])
    app.state.answering = Answering(Hosted(["toys/like"]), BOUNDS)
    with serving(app) as url, connect(url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert lost.wait(30)
        assert 0 < len(heard(connection)) < large


def test_two_requests_at_once_are_answered_in_order(url: str) -> None:
    with connect(url) as connection:
        first = sized(json.dumps(rank_body("a")).encode())
        connection.sendall(first + closing(json.dumps(rank_body("b")).encode()))
        said = heard(connection)
    assert said.count(b"HTTP/1.1 200") == 2
    assert said.index(b'"request_id":"a"') < said.index(b'"request_id":"b"')


# ---- clients that leave


def test_who_leaves_in_the_middle_of_a_body_leaves_nothing(url: str) -> None:
    for _ in range(20):
        with connect(url) as connection:
            connection.sendall(sized(GOOD[:40], len(GOOD)))


def test_who_leaves_before_the_answer_is_not_computed_for(
    holding: tuple[Ranker, HeldEngine],
) -> None:
    ranker, engine = holding
    app = app_of(ranker, bounds=Bounds(at_once=1))
    with serving(app) as url:
        with connect(url) as first, connect(url) as second:
            first.sendall(sized(json.dumps(rank_body("first")).encode()))
            assert engine.reached.wait(10)
            second.sendall(sized(json.dumps(rank_body("second")).encode()))
            while app.state.answering.seats.waiting == 0:
                time.sleep(0.005)
        while app.state.answering.seats.waiting:
            time.sleep(0.005)
        engine.open()
        assert settled(app) == (0, 0, 0)
        assert httpx.post(f"{url}/v1/rank", json=rank_body("third")).status_code == 200
    assert "second" not in engine.answered and engine.answered[-1] == "third"


# ---- many


@pytest.mark.slow
def test_200_clients_at_once_and_as_many_that_only_hold_a_connection(
    holding: tuple[Ranker, HeldEngine],
) -> None:
    ranker, engine = holding
    engine.open()

    async def run(url: str) -> list[int]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as http:
            calls = [http.post("/v1/rank", json=rank_body(f"r{n}")) for n in range(200)]
            answers = await asyncio.gather(*calls)
        names = [answer.json()["request_id"] for answer in answers]
        assert names == [f"r{n}" for n in range(200)]
        return [answer.status_code for answer in answers]

    with serving(app_of(ranker, bounds=Bounds(queue=200))) as url, ExitStack() as stack:
        idle = [stack.enter_context(connect(url)) for _ in range(200)]
        for connection in idle[:100]:
            connection.sendall(b"GET /hea")
        assert asyncio.run(run(url)) == [200] * 200


@pytest.mark.slow
def test_a_large_request_over_a_socket_holds_up_no_small_ones(
    holding: tuple[Ranker, HeldEngine],
) -> None:
    ranker, engine = holding
    engine.open()
    begin, small_over = engine.begin, threading.Event()

    def slowly(trees: Any) -> Any:
        for steps in begin(trees):
            if not small_over.is_set():
                time.sleep(0.03)
            yield steps

    engine.begin = slowly  # type: ignore[method-assign]
    pair = {"member": {"name": "Ann"}, "item": {"title": "Ball", "color": "red"}}
    ends: list[str] = []
    with serving(app_of(ranker)) as url:

        def ask(name: str, path: str, body: Any) -> None:
            assert httpx.post(url + path, json=body, timeout=60).status_code == 200
            ends.append(name)

        large = threading.Thread(target=ask, args=("large", "/v1/score", {"pairs": [pair] * 300}))
        large.start()
        assert engine.reached.wait(10)
        for n in range(5):
            ask(f"small {n}", "/v1/rank", rank_body())
        small_over.set()
        large.join(60)
    assert ends == [*(f"small {n}" for n in range(5)), "large"]


@pytest.mark.slow
def test_memory_stays_as_it_is_whatever_clients_do(url: str) -> None:
    large = json.dumps(rank_body(toys=[f"toy {n}" for n in range(900)])).encode()
    process = psutil.Process()

    def round_of_everything() -> None:
        for n in range(60):
            named = json.dumps(rank_body(f"r{n}", toys=[f"toy {n}", "Car"])).encode()
            assert answer_to(url, closing(named))[0] == 200
            assert answer_to(url, closing(b" " * 100_001))[0] == 413
            assert answer_to(url, closing(GOOD[:-9]))[0] == 400
            for part in (sized(large[:60_000], len(large)), sized(GOOD), HEAD, b""):
                with connect(url) as connection:
                    connection.sendall(part)  # and leave
        assert answer_to(url, closing(large))[0] == 200

    for _ in range(3):
        round_of_everything()
    before = process.memory_info().rss
    for _ in range(6):
        round_of_everything()
    assert process.memory_info().rss - before < 12 << 20


# ---- keys

KEY = "a-key-of-some-length"


@pytest.mark.parametrize(
    "shown",
    [
        *("Bearer wrong-key-of-some-length", f"Basic {KEY}", f"Bearer {KEY[:-1]}", KEY, "Bearer"),
        *(f"Token {KEY}", f"Bearer {KEY} {KEY}", f"Bearer={KEY}", "Bearer \xff\xfe", ""),
    ],
)
def test_a_key_shown_wrongly_opens_nothing(holding: tuple[Ranker, HeldEngine], shown: str) -> None:
    app = app_of(holding[0], keys=Keys([KEY]))
    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"authorization", shown.encode("latin-1")),
    ]

    async def run() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            paths = ("/v1/tasks", f"/v1/tasks?key={KEY}", "/metrics", "/openapi.json")
            calls = [await http.get(path, headers=headers) for path in paths]
            calls.append(await http.post("/v1/rank", content=GOOD, headers=headers))
        assert all(call.headers["www-authenticate"] == "Bearer" for call in calls)
        assert all(KEY not in call.text for call in calls)
        return [call.status_code for call in calls]

    assert asyncio.run(run()) == [401] * 5
