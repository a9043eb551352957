"""A server whose vLLM process is killed under traffic: nobody hangs, and nobody is forgotten."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette

from promptrank.engine.contract import EngineInfo
from promptrank.engine.tree_checks import Limits
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.engine.vllm_engine.vllm import VllmEngine
from promptrank.serve.app import make_app
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker
from support.serving import ask, client, rank_body, until
from support.vllm import use_stub


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "stub"
    folder.mkdir()
    use_stub(folder, monkeypatch)
    return folder


@pytest.fixture
def served(toys: Path, stub: Path) -> Iterator[tuple[Starlette, VllmEngine]]:
    restarts = Restarts()
    settings = Launch(str(stub), "float32", 2048, 1)
    info = EngineInfo("vllm", "stub", "0", "float32", 2048)
    engine = VllmEngine(settings, info, Limits(2048, 100_000), restarts)
    ranker = open_ranker("toys/like", project=toys, engine="fake")
    ranker.put_before(engine)
    hosted = Hosted(["toys/like"], restarts)
    hosted.put([HostedTask("toys/like", ranker)])
    yield make_app(hosted, SHAPES), engine
    ranker.close()


def kill(engine: VllmEngine) -> None:
    assert engine.process_id is not None
    os.kill(engine.process_id, signal.SIGKILL)


def number(app: Starlette, name: str) -> float:
    lines = ask(app, "/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.mark.long
def test_requests_under_way_and_in_the_line_are_answered_by_the_next_process(
    served: tuple[Starlette, VllmEngine], stub: Path
) -> None:
    app, engine = served
    seats = app.state.answering.seats
    (stub / "slow").touch()

    async def run() -> None:
        async with client(app) as http:
            calls = [
                asyncio.ensure_future(http.post("/v1/rank", json=rank_body(f"r{n}")))
                for n in range(20)
            ]
            await until(lambda: (seats.under_way, seats.waiting) == (8, 12))
            assert (await http.get("/ready")).status_code == 200
            kill(engine)
            health: dict[str, Any] = {}
            while health.get("state") != "restarting":
                health = (await http.get("/health")).json()
            ready = await http.get("/ready")
            assert (ready.status_code, ready.json()) == (503, {"state": "restarting"})
            assert "promptrank_ready 0.0" in (await http.get("/metrics")).text
            (stub / "slow").unlink()
            answers = [await call for call in calls]
            assert [answer.status_code for answer in answers] == [200] * 20
            assert [answer.json()["request_id"] for answer in answers] == [
                f"r{n}" for n in range(20)
            ]
            scores = {tuple(s["score"] for s in answer.json()["scored"]) for answer in answers}
            assert len(scores) == 1  # the same question, whichever process answered
            assert (await http.get("/ready")).json() == {"state": "ready"}

    asyncio.run(run())
    assert number(app, "promptrank_engine_restarts_total") == 1
    assert number(app, 'promptrank_cache_misses_total{cache="prefix_tokens"') > 0


@pytest.mark.long
def test_where_it_does_not_come_back_clients_are_told_to_come_again(
    served: tuple[Starlette, VllmEngine], stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, engine = served
    monkeypatch.setattr("promptrank.engine.vllm_engine.restarts._SHORTEST", 0.3)
    (stub / "slow").touch()

    async def run() -> None:
        async with client(app) as http:
            calls = [
                asyncio.ensure_future(http.post("/v1/rank", json=rank_body())) for _ in range(12)
            ]
            await until(lambda: app.state.answering.seats.under_way == 8)
            (stub / "broken").touch()
            kill(engine)
            (stub / "slow").unlink()
            for answer in await asyncio.gather(*calls):
                assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error"]["reason"] == "engine"
                assert str(stub) not in answer.text
            assert (await http.get("/ready")).status_code == 503
            (stub / "broken").unlink()
            await until(lambda: engine.ailing)
            await asyncio.to_thread(engine.mend)
            assert (await http.get("/ready")).status_code == 200
            assert (await http.post("/v1/rank", json=rank_body())).status_code == 200

    asyncio.run(run())


@pytest.mark.slow
def test_killed_again_and_again_under_traffic(
    served: tuple[Starlette, VllmEngine], stub: Path
) -> None:
    app, engine = served

    async def run() -> None:
        statuses: Counter[int] = Counter()
        done = asyncio.Event()

        async def ask_on(http: httpx.AsyncClient, who: int) -> None:
            n = 0
            while not done.is_set():
                answer = await http.post("/v1/rank", json=rank_body(f"{who}-{n}"))
                statuses[answer.status_code] += 1
                assert answer.status_code == 503 or answer.json()["request_id"] == f"{who}-{n}"
                n += 1

        async with client(app) as http:
            asking = [asyncio.ensure_future(ask_on(http, who)) for who in range(6)]
            for _ in range(8):
                before = statuses[200]
                await until(lambda b=before: statuses[200] > b + 10)
                if engine.process_id is not None:
                    kill(engine)
            done.set()
            await asyncio.wait_for(asyncio.gather(*asking), 60)
        assert statuses[200] > 80 and set(statuses) <= {200, 503}

    asyncio.run(run())
    assert number(app, "promptrank_engine_restarts_total") >= 4
