"""The clients of ``bench/serve.py``: what they count, and that they count all of it."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.serving import app_of, held, rank_body, serving

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("bench_load", BENCH / "_load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_load", module)
    spec.loader.exec_module(module)
    yield module


def test_rates_and_times_are_those_worked_out_by_hand(bench: ModuleType) -> None:
    measured = bench.Measured(
        begun=[0.0, 0.0, 1.0, 1.5, 2.0, 2.0],
        ended=[1.0, 1.5, 2.0, 3.0, 4.0, 2.1],
        status=[200, 200, 200, 200, 200, 429],
        body=[0, 1, 2, 3, 4, 5],
        kept={},
        cpu=0.0,
    )
    assert measured.count(429) == 1
    # Answers at 1, 1.5, 2, 3 and 4 s: without the first one three more in the 2.5 s after the next.
    assert measured.rate(0) == pytest.approx(4 / 3)
    assert measured.rate(1) == pytest.approx(3 / 2.5)
    assert measured.rate(4) == pytest.approx(2 / 2.0), "two of five are left out, not four"
    # Of those with 200: 1, 1.5, 1, 1.5 and 2 s.
    assert measured.milliseconds(0.5) == pytest.approx(1500)
    assert measured.milliseconds(0.99) == pytest.approx(2000)
    # From 1.5 to 4 s and within 1.5 s: the second, third and fourth.
    assert measured.good(1.5, 4.0, 1.5) == pytest.approx(3 / 2.5)


@pytest.mark.long
def test_clients_in_a_closed_and_an_open_loop(bench: ModuleType, toys: Path) -> None:
    ranker, engine = held(toys)
    engine.open()
    bodies = [json.dumps(rank_body(name)) for name in ("a", "b", "c")]
    bodies.append("no JSON")
    with serving(app_of(ranker)) as url, bench.clients() as clients:
        port = int(url.rpartition(":")[2])
        load = {"path": "/v1/rank", "bodies": bodies, "seconds": 0.3}
        closed = clients.send(bench.Load(port, clients=2, first=1, keep=2, **load))
        opened = clients.send(bench.Load(port, rate=100, **load))
        gone = clients.send(bench.Load(port, rate=20, **{**load, "path": "/no/such"}))
    assert closed.body[0] in (1, 2) and set(closed.body) == {0, 1, 2, 3}
    assert 0.0 < closed.cpu < 2.0
    for measured in (closed, opened):
        answers = set(zip(measured.body, measured.status, strict=True))
        assert answers == {(0, 200), (1, 200), (2, 200), (3, 400)}
        pairs = zip(measured.begun, measured.ended, strict=True)
        assert all(0 <= begun < ended for begun, ended in pairs)
    assert {json.loads(text)["request_id"] for text in closed.kept.values()} == {"b", "c"}
    # 30 arrivals are expected; their times hang on the seed alone.
    assert 15 <= len(opened.status) <= 45 and set(gone.status) == {404}
