"""Aliases under traffic: seen soon, no request fails, and every answer says what made it."""

import asyncio
import json
import shutil
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from promptrank.api.adapters import rollback, set_alias
from promptrank.engine.fake import FakeEngine
from promptrank.errors import ModelError
from promptrank.ranking.ranker import Ranker
from promptrank.runtime.runtime import Runtime
from promptrank.serve.alias_watch import AliasWatch, FollowedAlias
from promptrank.serve.app import make_app
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker
from support.adapters import a_folder
from support.serving import client, rank_body, until

ALIAS = "toys@prod"


class Watched:
    """A served task whose adapter an alias names, over the fake engine, which any adapter changes.

    Attributes:
        lines: of the log.
        opened: every ranker that was opened, as long as somebody else has it.
    """

    def __init__(self, project: Path) -> None:
        self.project, self.runtime = project, Runtime()
        self.lines: list[dict[str, Any]] = []
        self.opened: list[weakref.ref[Ranker]] = []
        for seed, name in enumerate(("old", "new", "newer")):
            a_folder(project / "adapters" / name, seed)
        set_alias(ALIAS, "old", project=project)
        self.hosted = Hosted(["toys/like"])
        self.hosted.put([self.load("toys/like")])
        followed = {"toys/like": FollowedAlias(ALIAS, project / "adapters")}
        self.watch = AliasWatch(
            self.hosted, followed, self.load, self.runtime.unload_unused, self._note
        )
        self.app = make_app(self.hosted, SHAPES, log=self._note)

    def load(self, name: str) -> HostedTask:
        ranker = open_ranker(
            name, project=self.project, engine="fake", adapter=ALIAS, runtime=self.runtime
        )
        self.opened.append(weakref.ref(ranker))
        return HostedTask(name, ranker, ALIAS)

    def _note(self, line: str) -> None:
        self.lines.append(json.loads(line))

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        @asynccontextmanager
        async def nothing(app: Starlette) -> AsyncIterator[None]:
            yield

        async with self.watch.within(nothing)(self.app):
            yield

    def scores(self, adapter: str) -> dict[str, float]:
        """What an adapter says, without a server."""
        with open_ranker(
            "toys/like", project=self.project, engine="fake", adapter=adapter
        ) as ranker:
            ranking = ranker.rank(rank_body()["request"])
        return {scored.candidate_id: scored.score for scored in ranking.scored}

    def run(self, steps: Callable[[Any], Any]) -> None:
        async def main() -> None:
            async with self.served(), client(self.app) as http:
                await steps(http)

        asyncio.run(main())


@pytest.fixture
def watched(toys: Path) -> Watched:
    return Watched(toys)


@pytest.mark.long
def test_switches_under_load_fail_nothing_and_every_answer_has_its_adapters_scores(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.serve.alias_watch._EVERY", 0.01)
    expected = {name: watched.scores(name) for name in ("old", "new", "newer")}
    assert len({tuple(sorted(scores.items())) for scores in expected.values()}) == 3
    answers: list[dict[str, Any]] = []
    over = asyncio.Event()

    async def asking(http: Any) -> None:
        while not over.is_set():
            answer = await http.post("/v1/rank", json=rank_body())
            assert answer.status_code == 200, answer.text
            answers.append(answer.json())

    async def steps(http: Any) -> None:
        clients = [asyncio.ensure_future(asking(http)) for _ in range(4)]
        moves = [("new",), ("newer",), (), ("old",), ("newer",), ()]  # () rolls back
        leads_to = ["new", "newer", "new", "old", "newer", "old"]
        for move, name in zip(moves, leads_to, strict=True):
            if move:
                await asyncio.to_thread(set_alias, ALIAS, *move, project=watched.project)
            else:
                await asyncio.to_thread(rollback, ALIAS, project=watched.project)
            await until(lambda name=name: answers and answers[-1]["provenance"]["adapter"] == name)
        over.set()
        await asyncio.gather(*clients)

    watched.run(steps)
    assert {answer["provenance"]["adapter"] for answer in answers} == set(expected)
    for answer in answers:
        made = answer["provenance"]
        scores = {scored["candidate_id"]: scored["score"] for scored in answer["scored"]}
        assert scores == expected[made["adapter"]] and made["alias"] == ALIAS


@pytest.mark.long
def test_a_moved_alias_is_seen_within_a_second(watched: Watched) -> None:
    async def steps(http: Any) -> None:
        await asyncio.sleep(0.3)
        await asyncio.to_thread(set_alias, ALIAS, "new", project=watched.project)
        begun = asyncio.get_running_loop().time()
        await until(lambda: watched.hosted.loaded("toys/like").adapter_name == "new")
        # Far below the second where nothing else has the cores.
        assert asyncio.get_running_loop().time() - begun < 5
        numbers = (await http.get("/metrics")).text
        assert 'promptrank_alias_moves_total{outcome="served",task="toys/like"} 1.0' in numbers

    watched.run(steps)
    (line,) = [line for line in watched.lines if line.get("event") == "alias"]
    assert (line["alias"], line["adapter"], line["before"]) == (ALIAS, "new", "old")


def test_an_adapter_that_does_not_load_leaves_the_old_one_serving_and_says_so(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.serve.alias_watch._EVERY", 0.01)

    async def told(http: Any) -> list[str]:
        (task,) = (await http.get("/v1/tasks")).json()["tasks"]
        return list(task.get("notes", []))

    damaged, reopen = threading.Event(), watched.watch._reopen

    def after_the_damage(name: str) -> HostedTask:
        assert damaged.wait(60)
        return reopen(name)

    monkeypatch.setattr(watched.watch, "_reopen", after_the_damage)

    async def steps(http: Any) -> None:
        await asyncio.to_thread(set_alias, ALIAS, "new", project=watched.project)
        (watched.project / "adapters/new/adapter_model.safetensors").write_bytes(b"changed since")
        damaged.set()
        await until(lambda: watched.hosted.notes)
        (note,) = await told(http)
        assert "old goes on serving" in note and str(watched.project) not in note
        answer = (await http.post("/v1/rank", json=rank_body())).json()
        assert answer["provenance"]["adapter"] == "old"
        behind = 'promptrank_alias_behind{task="toys/like"}'
        assert f"{behind} 1.0" in (await http.get("/metrics")).text
        # However often it is tried again, it is told once.
        refused = [line for line in watched.lines if "refused" in line]
        assert len(refused) == 1 and refused[0]["serving"] == "old"
        assert "have changed since" in refused[0]["refused"]
        await asyncio.to_thread(rollback, ALIAS, project=watched.project)
        await until(lambda: not watched.hosted.notes)
        assert await told(http) == [] and f"{behind} 0.0" in (await http.get("/metrics")).text
        # A file that cannot be read, and one that is gone.
        aliases = watched.project / "adapters/aliases.json"
        shutil.copy(aliases, aliases.with_suffix(".kept"))
        aliases.write_text("{")
        await until(lambda: "aliases.json" in watched.lines[-1].get("refused", ""))
        aliases.unlink()
        await until(lambda: "stands for nothing" in watched.lines[-1].get("refused", ""))
        aliases.with_suffix(".kept").replace(aliases)
        await until(lambda: not watched.hosted.notes)
        assert (await http.post("/v1/rank", json=rank_body())).status_code == 200

    watched.run(steps)


@pytest.mark.long
def test_what_is_refused_for_a_passing_reason_serves_once_it_has_passed(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.serve.alias_watch._EVERY", 0.01)
    monkeypatch.setattr("promptrank.serve.alias_watch._FIRST", 0.02)
    tried: list[float] = []

    def reopen(name: str) -> HostedTask:
        tried.append(time.monotonic())
        if len(tried) < 4:
            raise ModelError("vllm: its process is started again in 2 s")
        return watched.load(name)

    async def steps(http: Any) -> None:
        monkeypatch.setattr(watched.watch, "_reopen", reopen)
        await asyncio.to_thread(set_alias, ALIAS, "new", project=watched.project)
        await until(lambda: watched.hosted.loaded("toys/like").adapter_name == "new")
        assert not watched.hosted.notes
        numbers = (await http.get("/metrics")).text
        assert 'promptrank_alias_behind{task="toys/like"} 0.0' in numbers
        assert 'promptrank_alias_moves_total{outcome="refused",task="toys/like"} 1.0' in numbers

    watched.run(steps)
    told = [line for line in watched.lines if line.get("event") == "alias"]
    assert ["refused" in line for line in told] == [True, False]
    pauses = [later - before for before, later in pairwise(tried)]
    assert all(pause >= least for pause, least in zip(pauses, (0.02, 0.04, 0.08), strict=True))


def test_prompts_do_not_change_under_a_running_server(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.serve.alias_watch._EVERY", 0.01)
    template = watched.project / "templates/toys/like.j2"

    async def steps(http: Any) -> None:
        template.write_text(template.read_text().replace("You rank toys", "You order toys"))
        await asyncio.to_thread(set_alias, ALIAS, "new", project=watched.project)
        await until(lambda: watched.hosted.notes)
        assert "start the server again" in watched.lines[-1]["refused"]
        assert watched.hosted.loaded("toys/like").adapter_name == "old"

    watched.run(steps)


@pytest.mark.long
def test_old_adapters_leave_memory_when_nobody_uses_them(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.serve.alias_watch._EVERY", 0.01)
    unloaded: list[str] = []
    monkeypatch.setattr(FakeEngine, "unload", lambda self, adapter: unloaded.append(adapter))

    async def steps(http: Any) -> None:
        for turn in range(4):
            name = ("new", "old")[turn % 2]
            await asyncio.to_thread(set_alias, ALIAS, name, project=watched.project)
            await until(lambda name=name: watched.hosted.loaded("toys/like").adapter_name == name)
            await http.post("/v1/rank", json=rank_body())
            await until(lambda turn=turn: len(unloaded) == turn + 1)

    watched.run(steps)
    assert [Path(folder).name for folder in unloaded] == ["old", "new"] * 2
    assert len([ranker for ranker in watched.opened if ranker() is not None]) == 1


def test_an_adapter_that_somebody_else_used_last_leaves_memory_too(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.serve.alias_watch._EVERY", 0.01)
    unloaded: list[str] = []
    monkeypatch.setattr(FakeEngine, "unload", lambda self, adapter: unloaded.append(adapter))

    async def steps(http: Any) -> None:
        draft = [watched.load("toys/like")]
        await asyncio.to_thread(set_alias, ALIAS, "new", project=watched.project)
        await until(lambda: len([ranker for ranker in watched.opened if ranker()]) == 2)
        await asyncio.sleep(0.1)
        assert not unloaded
        draft.clear()
        await until(lambda: unloaded)

    watched.run(steps)
    assert [Path(folder).name for folder in unloaded] == ["old"]
