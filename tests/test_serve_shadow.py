"""Shadows: a share of the requests scored again, never before an answer and never in its way."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from promptrank.api.serve import serve
from promptrank.errors import InputError
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.runs.log_files import log_files
from promptrank.scores.read import read_scores
from promptrank.serve.serving_log import ServingLog
from promptrank.serve.shadow import Shadow, Shadows, is_chosen
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.shadows import parse_shadows
from support.adapters import a_folder
from support.serving import app_of, client, held, rank_body, until


def test_a_share_is_chosen_by_the_id_and_larger_shares_hold_smaller_ones() -> None:
    names = [f"request-{n}" for n in range(4000)]
    few, many = ({n for n in names if is_chosen(n, share)} for share in (0.1, 0.5))
    assert few < many and 0.08 < len(few) / 4000 < 0.12 and 0.46 < len(many) / 4000 < 0.54
    assert all(is_chosen(name, 1.0) for name in names)


def test_shadow_scores_are_those_of_its_adapter(toys: Path, tmp_path: Path) -> None:
    a_folder(toys / "adapters" / "new")
    served = open_ranker("toys/like", project=toys, engine="fake")
    new = open_ranker("toys/like", project=toys, engine="fake", adapter="new")
    log = ServingLog(tmp_path / "log")
    shadows = Shadows(log)
    shadows.add("toys/like", Shadow("new", 0.5, new))
    app = app_of(served, serving_log=log, shadows=shadows)
    names = [f"r{n}" for n in range(20)]
    chosen = {name for name in names if is_chosen(name, 0.5)}

    async def run() -> str:
        async with app.router.lifespan_context(app), client(app) as http:
            for name in names:
                assert (await http.post("/v1/rank", json=rank_body(name))).status_code == 200
            await until(lambda: shadows.counts["toys/like", "new", "scored"] == len(chosen))
            return str((await http.get("/metrics")).text)

    numbers = asyncio.run(run())
    log.close()
    line = 'promptrank_shadow_rankings_total{outcome="scored",shadow="new",task="toys/like"}'
    assert 0 < len(chosen) < 20 and f"{line} {float(len(chosen))}" in numbers
    files = log_files(tmp_path / "log", "toys/like").scores
    assert set(files) == {"served", "new"}
    rows = {}
    for name, ranker in (("served", served), ("new", new)):
        scores = [read_scores(path, ranker.task, "toys/like") for path in files[name]]
        assert {each.origin.to_json() for each in scores} == {ranker.origin.to_json()}
        rows[name] = [row for each in scores for row in each.table.to_pylist()]
    assert {row["request_id"] for row in rows["served"]} == set(names)
    assert {row["request_id"] for row in rows["new"]} == chosen
    expected = {s.candidate_id: s.score for s in new.rank(rank_body()["request"]).scored}
    assert all(row["score"] == expected[row["candidate_id"]] for row in rows["new"])


def test_a_shadow_is_given_up_for_whoever_comes_and_goes_on_when_they_are_gone(
    toys: Path, tmp_path: Path
) -> None:
    served, engine = held(toys)
    engine.open()
    slow, slow_engine = held(toys)
    log = ServingLog(tmp_path / "log")
    shadows = Shadows(log)
    shadows.add("toys/like", Shadow("slow", 1.0, slow))
    app = app_of(served, serving_log=log, shadows=shadows)

    async def run() -> None:
        async with app.router.lifespan_context(app), client(app) as http:
            first = await http.post("/v1/rank", json=rank_body("first"))
            assert first.status_code == 200  # while its shadow has not begun
            await until(slow_engine.reached.is_set)
            # The shadow is at a step; a request is answered all the same.
            assert (await http.post("/v1/rank", json=rank_body("second"))).status_code == 200
            slow_engine.open()
            await until(lambda: shadows.counts["toys/like", "slow", "scored"] == 2)

    asyncio.run(run())
    log.close()
    assert log.written == 4


def test_what_is_given_up_too_often_is_dropped(toys: Path, tmp_path: Path) -> None:
    """Where somebody comes at every step of it, one step a time is all that anybody waits for."""
    served, engine = held(toys)
    engine.open()
    slow, slow_engine = held(toys)
    shadows = Shadows(ServingLog(tmp_path / "log"))
    shadows.add("toys/like", Shadow("slow", 0.5, slow))
    app = app_of(served, shadows=shadows)
    chosen = next(f"r{n}" for n in range(99) if is_chosen(f"r{n}", 0.5))
    other = next(f"r{n}" for n in range(99) if not is_chosen(f"r{n}", 0.5))

    async def run() -> None:
        async with app.router.lifespan_context(app), client(app) as http:
            await http.post("/v1/rank", json=rank_body(chosen))
            for begun in range(1, 6):
                await until(lambda begun=begun: len(slow_engine.begun) == begun)
                assert (await http.post("/v1/rank", json=rank_body(other))).status_code == 200
                await asyncio.sleep(0.02)  # so that it is seen that somebody came
                slow_engine.let(1)
            await until(lambda: shadows.counts["toys/like", "slow", "dropped"] == 1)

    asyncio.run(run())
    assert len(slow_engine.begun) == 5 and not shadows.counts["toys/like", "slow", "scored"]


def test_what_finds_the_line_full_is_dropped_and_counted(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.serve.shadow._LINE", 2)
    served = open_ranker("toys/like", project=toys, engine="fake")
    slow, engine = held(toys)
    said: list[str] = []
    log = ServingLog(tmp_path / "log")
    shadows = Shadows(log, said.append)
    shadows.add("toys/like", Shadow("slow", 1.0, slow))
    app = app_of(served, serving_log=log, shadows=shadows)

    async def run() -> None:
        async with app.router.lifespan_context(app), client(app) as http:
            await http.post("/v1/rank", json=rank_body("r0"))
            await until(engine.reached.is_set)
            for n in range(1, 6):
                assert (await http.post("/v1/rank", json=rank_body(f"r{n}"))).status_code == 200
            await until(lambda: shadows.counts["toys/like", "slow", "dropped"] == 3)
            engine.open()

    asyncio.run(run())
    log.close()
    told = {line.rpartition(": ")[2] for line in said}
    assert sum(int(words.split()[0]) for words in told) == 6


def test_a_fault_in_a_shadow_is_told_and_the_next_request_is_scored(
    toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = open_ranker("toys/like", project=toys, engine="fake")
    faulty = open_ranker("toys/like", project=toys, engine="fake")
    rank_many = faulty.rank_many

    def faulty_at_first(requests: Sequence[Request], **options: Any) -> Iterator[Ranking]:
        if requests[0].request_id == "r0":
            raise RuntimeError("out of memory")
        return rank_many(requests, **options)

    monkeypatch.setattr(faulty, "rank_many", faulty_at_first)
    said: list[str] = []
    log = ServingLog(tmp_path / "log")
    shadows = Shadows(log, said.append)
    shadows.add("toys/like", Shadow("faulty", 1.0, faulty))
    app = app_of(served, serving_log=log, shadows=shadows)

    async def run() -> None:
        async with app.router.lifespan_context(app), client(app) as http:
            for n in range(3):
                assert (await http.post("/v1/rank", json=rank_body(f"r{n}"))).status_code == 200
            await until(lambda: shadows.counts["toys/like", "faulty", "scored"] == 2)

    asyncio.run(run())
    log.close()
    assert shadows.counts["toys/like", "faulty", "failed"] == 1
    assert "Traceback" in said[0] and "RuntimeError: out of memory" in said[0]


def test_what_shadows_are_called(toys: Path) -> None:
    (one, two) = parse_shadows(["adapter:new@cand=0.1", "b/c=base=1"], ["b/c"])
    assert (one.task, one.name, one.share) == ("b/c", "new-cand", 0.1)
    assert (two.name, two.who.kind, two.share) == ("base", "base", 1.0)
    for value, why in {
        "adapter:new": "share",
        "adapter:new=0": "share",
        "adapter:new=2": "share",
        "adapter:new=x": "share",
        "new=0.1": "adapter:NAME",
        "b/d=base=1": "no task 'b/d'",
        "adapter:served=1": "taken",
    }.items():
        with pytest.raises(InputError, match=why):
            parse_shadows([value], ["b/c"])
    with pytest.raises(InputError, match="taken"):
        parse_shadows(["adapter:a=1", "adapter:x/a=0.5"], ["b/c"])
    with pytest.raises(InputError, match="--log"):
        serve(["toys/like"], project=toys, engines=["fake"], shadows=["base=1"])
