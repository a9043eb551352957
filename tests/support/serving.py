"""Servers for tests: hosted toys over an engine that a test can hold, and clients without a net."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
from starlette.applications import Starlette

from promptrank.engine.contract import Steps, Tree, Window
from promptrank.engine.fake import FakeEngine
from promptrank.ranking.ranker import Ranker
from promptrank.serve.app import make_app
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker


class HeldEngine(FakeEngine):
    """The fake engine, one tree a step, each of which waits to be let.

    Attributes:
        begun: ids of the trees of each group, as they were begun.
        answered: ids of the trees, as they were answered.
        reached: set when a step waits.
    """

    window = Window(trees=64, tokens=1_000_000, step=10)

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[list[str]] = []
        self.answered: list[str] = []
        self.reached = threading.Event()
        self._let = threading.Semaphore(0)
        self._open = False

    def begin(self, trees: Sequence[Tree]) -> Steps:
        self.begun.append([tree.tree_id for tree in trees])
        for steps in super().begin(trees):
            self.reached.set()
            if not self._open:
                assert self._let.acquire(timeout=20), "a step that no test lets go on"
            self.reached.clear()
            self.answered += [trees[place].tree_id for place, _ in steps]
            yield steps

    def let(self, steps: int) -> None:
        """So many steps go on."""
        self._let.release(steps)

    def open(self) -> None:
        """All steps go on from now on."""
        self._open = True
        self._let.release(100)


def held(project: Path) -> tuple[Ranker, HeldEngine]:
    ranker, engine = open_ranker("toys/like", project=project, engine="fake"), HeldEngine()
    ranker.put_before(engine)
    return ranker, engine


def hosted_of(*rankers: Ranker, names: Sequence[str] = ("toys/like",)) -> Hosted:
    hosted = Hosted(names)
    hosted.put([HostedTask(name, ranker) for name, ranker in zip(names, rankers, strict=True)])
    return hosted


def app_of(*rankers: Ranker, **options: Any) -> Starlette:
    return make_app(hosted_of(*rankers), SHAPES, **options)


def client(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost", timeout=30
    )


def ask(app: Starlette, path: str, body: Any = None, **headers: str) -> httpx.Response:
    """One call; without a body a GET. Header names have _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def run() -> httpx.Response:
        async with client(app) as http:
            if body is None:
                return await http.get(path, headers=named)
            return await http.post(path, json=body, headers=named)

    return asyncio.run(run())


def rank_body(name: str = "r", toys: Sequence[str] = ("Ball", "Car", "Doll")) -> dict[str, Any]:
    return {
        "request": {
            "request_id": name,
            "member": {"name": "Ann"},
            "candidates": [{"item_id": t, "item": {"title": t, "color": "red"}} for t in toys],
        }
    }


async def until(condition: Any) -> None:
    """Wait until it holds."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("never came about")


class RawCall:
    """One call on the application itself, whose client may leave.

    Attributes:
        sent: messages of the answer.
    """

    def __init__(self, app: Starlette, path: str, body: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self._left = asyncio.Event()
        self._parts = [{"type": "http.request", "body": json.dumps(body).encode()}]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    def leave(self) -> None:
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        if self._parts:
            return self._parts.pop(0)
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """The application behind a real socket of this machine; its address."""
    import uvicorn

    from promptrank.serve.connections import bounded
    from promptrank.serve.running import listen

    server, listening = uvicorn.Server(bounded(app, lifespan="off")), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listening.close()
        app.state.answering.seats.close()
