"""Serving under load: what shares a forward, who waits, and what is never computed."""

import asyncio
from pathlib import Path

import pytest

from promptrank.ranking.ranker import Ranker
from promptrank.serve.bounds import Bounds
from support.serving import HeldEngine, RawCall, app_of, client, held, rank_body, until


@pytest.fixture
def holding(toys: Path) -> tuple[Ranker, HeldEngine]:
    return held(toys)


def test_requests_that_arrive_together_share_a_step(holding: tuple[Ranker, HeldEngine]) -> None:
    ranker, engine = holding
    app = app_of(ranker)

    async def run() -> None:
        async with client(app) as http:
            calls = [asyncio.ensure_future(http.post("/v1/rank", json=rank_body("a")))]
            await until(engine.reached.is_set)
            calls += [
                asyncio.ensure_future(http.post("/v1/rank", json=rank_body(name)))
                for name in ("b", "c", "d")
            ]
            await until(lambda: len(ranker.opened._groups) == 3)
            engine.open()
            assert [(await call).status_code for call in calls] == [200] * 4

    asyncio.run(run())
    assert engine.begun[0] == ["a"] and sorted(engine.begun[1]) == ["b", "c", "d"]


def test_what_has_no_place_in_the_line_is_told_to_come_again(
    holding: tuple[Ranker, HeldEngine],
) -> None:
    ranker, engine = holding
    app = app_of(ranker, bounds=Bounds(at_once=1, queue=2))
    seats = app.state.answering.seats

    async def run() -> None:
        async with client(app) as http:
            calls = []
            for waiting, name in enumerate("abc"):
                calls.append(asyncio.ensure_future(http.post("/v1/rank", json=rank_body(name))))
                await until(lambda w=waiting: (seats.under_way, seats.waiting) == (1, w))
            refused = await http.post("/v1/rank", json=rank_body("d"))
            assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
            assert refused.json()["error"]["reason"] == "busy"
            engine.open()
            assert [(await call).status_code for call in calls] == [200] * 3

    asyncio.run(run())
    assert engine.answered == ["a", "b", "c"]


def test_past_its_deadline_a_request_is_never_computed(holding: tuple[Ranker, HeldEngine]) -> None:
    ranker, engine = holding
    app = app_of(ranker, bounds=Bounds(at_once=1))

    async def run() -> None:
        async with client(app) as http:
            first = asyncio.ensure_future(http.post("/v1/rank", json=rank_body("a")))
            await until(engine.reached.is_set)
            late = await http.post("/v1/rank", json=rank_body("b"), headers={"X-Deadline-Ms": "30"})
            assert late.status_code == 504 and late.json()["error"]["reason"] == "deadline"
            engine.open()
            assert (await first).status_code == 200
            for wrong in ("0", "-5", "1.5", "soon"):
                answer = await http.post(
                    "/v1/rank", json=rank_body("c"), headers={"X-Deadline-Ms": wrong}
                )
                assert answer.status_code == 422

    asyncio.run(run())
    assert engine.answered == ["a"]


PAIRS = {
    "pairs": [
        {"member": {"name": "Ann"}, "item": {"title": f"Toy {n}", "color": "red"}} for n in range(5)
    ]
}


@pytest.mark.long
def test_work_under_way_is_dropped_at_its_deadline(holding: tuple[Ranker, HeldEngine]) -> None:
    ranker, engine = holding
    app = app_of(ranker, bounds=Bounds(at_once=1))
    seats = app.state.answering.seats

    async def run() -> None:
        async with client(app) as http:
            late = await http.post("/v1/score", json=PAIRS, headers={"X-Deadline-Ms": "2000"})
            assert late.status_code == 504
            assert seats.under_way == 1  # until its step is over
            engine.open()
            await until(lambda: seats.under_way == 0)
            assert (await http.post("/v1/rank", json=rank_body("n"))).status_code == 200

    asyncio.run(run())
    assert len(engine.begun[0]) == 5
    assert engine.answered == [engine.begun[0][0], "n"]


def test_work_is_dropped_when_the_client_goes_away(holding: tuple[Ranker, HeldEngine]) -> None:
    ranker, engine = holding
    lines: list[str] = []
    app = app_of(ranker, bounds=Bounds(at_once=1), log=lines.append)
    answering = app.state.answering

    async def run() -> None:
        call = RawCall(app, "/v1/score", PAIRS)
        await until(engine.reached.is_set)
        waiting = RawCall(app, "/v1/rank", rank_body("never"))
        await until(lambda: answering.seats.waiting == 1)
        waiting.leave()
        call.leave()
        await asyncio.gather(call.task, waiting.task)
        assert answering.seats.waiting == 0 and answering.intake.held == 0
        engine.open()
        await until(lambda: answering.seats.under_way == 0)

    asyncio.run(run())
    assert engine.answered == [engine.begun[0][0]] != ["never"]
    assert all('"reason":"client_gone"' in line for line in lines) and len(lines) == 2


@pytest.mark.parametrize("bounds", [{"large": 1000}, {"large_rows": 40}])
def test_large_requests_leave_seats_to_small_ones(
    holding: tuple[Ranker, HeldEngine], bounds: dict[str, int]
) -> None:
    """By their bytes, and by their candidates and events, as ids alone are few bytes."""
    ranker, engine = holding
    app = app_of(ranker, bounds=Bounds(at_once=2, **bounds))
    seats = app.state.answering.seats
    large = [f"Toy number {n}" for n in range(40)]

    async def run() -> None:
        async with client(app) as http:
            calls = []
            for n in range(3):
                calls.append(
                    asyncio.ensure_future(http.post("/v1/rank", json=rank_body(f"l{n}", large)))
                )
                await until(lambda n=n: (seats.under_way, seats.waiting) == (1, n))
                if n == 0:  # it has been encoded too, so that the small one does not overtake it
                    await until(engine.reached.is_set)
            small = asyncio.ensure_future(http.post("/v1/rank", json=rank_body("s")))
            await until(lambda: seats.under_way == 2 and len(ranker.opened._groups) == 1)
            engine.let(2)
            assert (await small).status_code == 200
            engine.open()
            assert [(await call).status_code for call in calls] == [200] * 3

    asyncio.run(run())
    assert engine.answered == ["l0", "s", "l1", "l2"]


def test_a_large_request_and_small_ones_take_steps_in_turn(
    holding: tuple[Ranker, HeldEngine],
) -> None:
    ranker, engine = holding
    app = app_of(ranker)

    async def run() -> None:
        async with client(app) as http:
            long = asyncio.ensure_future(http.post("/v1/score", json=PAIRS))
            await until(engine.reached.is_set)
            small = asyncio.ensure_future(http.post("/v1/rank", json=rank_body("s")))
            await until(lambda: len(ranker.opened._groups) == 1)
            engine.open()
            assert {(await call).status_code for call in (long, small)} == {200}

    asyncio.run(run())
    assert engine.answered.index("s") <= 2


@pytest.mark.long
def test_many_clients_at_once_are_all_answered_and_nothing_is_kept(
    toys: Path,
) -> None:
    ranker, engine = held(toys)
    engine.open()
    app = app_of(ranker, bounds=Bounds(queue=200))
    answering = app.state.answering

    async def run() -> None:
        async with client(app) as http:
            calls = [http.post("/v1/rank", json=rank_body(f"r{n}")) for n in range(200)]
            answers = await asyncio.gather(*calls)
        assert [a.json()["request_id"] for a in answers] == [f"r{n}" for n in range(200)]
        await until(lambda: answering.seats.under_way == 0)

    asyncio.run(run())
    assert answering.intake.held == 0 and answering.seats.waiting == 0
    assert not ranker.opened._groups
