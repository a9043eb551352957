"""What is refused because it would come too late, and what is ranked without a thread."""

import asyncio
import re
import sys
import threading
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from promptrank import distill
from promptrank.ranking.methods.pointwise import Pointwise
from promptrank.ranking.posing import Prompts
from promptrank.ranking.ranker import Ranker
from promptrank.requests.dicts import request_from_dict
from promptrank.runtime.runtime import Runtime
from promptrank.serve.bounds import Bounds
from promptrank.serve.pace import EnginePace
from promptrank.serve.refused import Refused
from promptrank.workspace.rankers import open_ranker
from support.serving import app_of, ask, client, held, rank_body, until


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def answered(pace: EnginePace, clock: Clock, size: int, seconds: float) -> None:
    with pace.under_way(size):
        clock.now += seconds


def test_a_row_takes_what_passes_between_answers() -> None:
    clock = Clock()
    pace = EnginePace(clock)
    answered(pace, clock, 100, 2.0)
    assert pace.seconds == pytest.approx(0.02)
    # Two of 100 rows that begin together and are there after 2 and 4 s took 2 s each.
    first, second = pace.under_way(100), pace.under_way(100)
    first.__enter__()
    second.__enter__()
    assert pace.ahead == 200
    for each in (first, second):
        clock.now += 2.0
        each.__exit__(None, None, None)
    assert pace.seconds == pytest.approx(0.02) and pace.ahead == 0
    # An idle time before a request is not its own.
    clock.now += 1000
    answered(pace, clock, 100, 2.0)
    assert pace.seconds == pytest.approx(0.02)
    answered(pace, clock, 100, 12.0)
    assert pace.seconds == pytest.approx(0.9 * 0.02 + 0.1 * 0.12)


def test_what_would_come_too_late_is_refused_while_something_is_ahead() -> None:
    clock = Clock()
    pace = EnginePace(clock)
    pace.check(100, 0.001)  # nothing is known yet
    answered(pace, clock, 100, 2.0)
    pace.check(100, 0.001)  # nothing is ahead of it
    with pace.under_way(300):
        pace.check(100, 10.1)  # 400 rows of 0.02 s, and a quarter more: 10 s
        with pytest.raises(Refused) as refused:
            pace.check(100, 7.2)
    assert refused.value.refusal.status == 429
    assert refused.value.refusal.headers["Retry-After"] == "3"


def test_what_was_given_up_says_how_slow_it_is_at_least() -> None:
    clock = Clock()
    pace = EnginePace(clock)
    answered(pace, clock, 100, 2.0)
    for seconds, after in ((1.0, 0.02), (12.0, 0.9 * 0.02 + 0.1 * 0.12)):
        with pytest.raises(TimeoutError), pace.under_way(100):
            clock.now += seconds
            raise TimeoutError
        assert pace.seconds == pytest.approx(after) and pace.ahead == 0


@pytest.mark.long
def test_under_load_a_short_deadline_is_refused_and_a_long_one_waits(toys: Path) -> None:
    ranker, engine = held(toys)
    app = app_of(ranker, bounds=Bounds(at_once=1))
    answering = app.state.answering

    async def calls() -> None:
        async with client(app) as http:
            slow = asyncio.ensure_future(http.post("/v1/rank", json=rank_body("a")))
            await until(engine.reached.is_set)
            await asyncio.sleep(0.3)
            engine.let(1)
            assert (await slow).status_code == 200
            under_way = asyncio.ensure_future(http.post("/v1/rank", json=rank_body("b")))
            await until(engine.reached.is_set)
            late = await http.post(
                "/v1/rank", json=rank_body("c"), headers={"X-Deadline-Ms": "400"}
            )
            assert late.status_code == 429 and int(late.headers["retry-after"]) >= 1
            said = re.search(r"the (\d+) ms to its deadline", late.json()["error"]["message"])
            assert said is not None and 0 < int(said[1]) <= 400
            patient = asyncio.ensure_future(http.post("/v1/rank", json=rank_body("d")))
            await until(lambda: answering.seats.waiting == 1)
            engine.open()
            assert [(await each).status_code for each in (under_way, patient)] == [200, 200]

    asyncio.run(calls())
    assert engine.answered == ["a", "b", "d"]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    """A project with a student of trees."""
    from support.toys import make_project

    project = make_project(tmp_path_factory.mktemp("taught") / "toys", tiny_llama_path)
    distill("toys/like", project=project, name="small", student="gbdt", loss="labels", teacher=None)
    return project


@pytest.mark.long
def test_a_student_answers_the_same_with_and_without_a_thread(taught: Path) -> None:
    threads: list[str] = []

    class Watched(Ranker):
        def rank_many(self, *given: Any, **more: Any) -> Any:
            threads.append(threading.current_thread().name)
            return super().rank_many(*given, **more)

    ranker = open_ranker("toys/like", project=taught, engine="student:small")
    ranker.__class__ = Watched
    app = app_of(ranker)
    bodies = [rank_body("r"), rank_body("r"), rank_body("r", [f"Toy {n}" for n in range(900)])]
    pace = app.state.answering._paces.setdefault(ranker.opened, EnginePace())
    answers = [ask(app, "/v1/rank", body).json() for body in bodies[:1]]
    pace.cpu = 1e-5
    answers += [ask(app, "/v1/rank", bodies[1]).json()]
    pace.cpu = 1e-5
    assert ask(app, "/v1/rank", bodies[2]).status_code == 200
    assert threads[0].startswith("rank") and threads[1] == "MainThread"
    assert threads[2].startswith("rank"), "900 candidates would hold up everybody else"
    assert answers[0].pop("id") != answers[1].pop("id")
    assert answers[0] == answers[1] and answers[0]["scored"]


ANSWER_ONCE = """\
import sys
from support.serving import app_of, ask, rank_body
from promptrank.api import serve
from promptrank.workspace.rankers import open_ranker
app = app_of(open_ranker("toys/like", project=sys.argv[1], engine="student:small"))
for _ in range(2):
    assert ask(app, "/v1/rank", rank_body()).status_code == 200
print(*sorted({"torch", "transformers", "peft"} & set(sys.modules)), sep=",")
"""


@pytest.mark.slow
def test_a_student_answers_without_torch(taught: Path) -> None:
    done = run(
        [sys.executable, "-c", ANSWER_ONCE, str(taught)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_a_small_request_does_not_wait_for_a_large_one_to_be_tokenized(toys: Path) -> None:
    with Runtime(stepping=True) as runtime:
        ranker = open_ranker("toys/like", project=toys, engine="fake", runtime=runtime)
        assert isinstance(ranker.method, Pointwise)
        posing = ranker.method.posing
        assert isinstance(posing, Prompts)
        small, large = (
            request_from_dict(rank_body(name, toys)["request"])
            for name, toys in (("s", ["Ball"]), ("l", [f"Toy number {n}" for n in range(150)]))
        )
        alone = {name: ranker.rank(request) for name, request in (("s", small), ("l", large))}
        assert posing._for_large is not None and posing._for_large is not posing.encoder
        assert posing._for_large.fingerprint == posing.encoder.fingerprint
        begun, go_on = threading.Event(), threading.Event()
        encode = posing._for_large.encode_many

        def slowly(requests: Any, *, turns: bool = False) -> Any:
            begun.set()
            assert go_on.wait(20)
            yield from encode(requests, turns=turns)

        posing._for_large.encode_many = slowly  # type: ignore[method-assign]
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(ranker.rank(large)))
        thread.start()
        assert begun.wait(20)
        assert ranker.rank(small).scored == alone["s"].scored
        go_on.set()
        thread.join(20)
    assert answers[0].scored == alone["l"].scored
    # The same ids as by the encoder of all others.
    with open_ranker("toys/like", project=toys, engine="fake") as other:
        assert other.rank(large).scored == alone["l"].scored
