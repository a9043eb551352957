"""Decoders and students are opened and asked alike, share a runtime, and serve several threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import promptrank
from promptrank.api.distill import distill
from promptrank.errors import InputError, ModelError
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.source import Sample
from promptrank.runtime.runtime import Runtime
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task
from support.toys import make_project

ENGINES = ["packed", "student:small"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    """The toys with a second task on the same model, and a student of the first."""
    root = make_project(tmp_path_factory.mktemp("peers") / "toys", tiny_llama_path)
    text = (root / "tasks/toys/like.yaml").read_text().replace("like it", "want it")
    (root / "tasks/toys/want.yaml").write_text(text)
    promptrank.build("toys/like", root / "requests.parquet", project=root)
    distill(
        "toys/like",
        name="small",
        student="sequence",
        loss="labels",
        options={"epochs": 1},
        requests=root / "requests.parquet",
        timed=1,
        project=root,
    )
    return root


@pytest.fixture(scope="module")
def requests(project: Path) -> list[Request]:
    file = given_file(open_task("toys/like", project=project), project / "requests.parquet")
    return list(Sample(file, {"test"}))


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    with Runtime() as runtime:
        yield runtime


def open_ranker(project: Path, runtime: Runtime, engine: str, **more: Any) -> promptrank.Ranker:
    given: dict[str, Any] = {"task": "toys/like", "engine": engine, "threads": 1, **more}
    return promptrank.open_ranker(**given, project=project, runtime=runtime)


def scores(ranking: Ranking) -> dict[str, float]:
    return {scored.candidate_id: scored.score for scored in ranking.scored}


@pytest.mark.long
def test_a_student_is_opened_by_the_same_ranker(
    project: Path, runtime: Runtime, requests: list[Request]
) -> None:
    decoder, student = (open_ranker(project, runtime, engine) for engine in ENGINES)
    assert type(decoder) is type(student) is promptrank.Ranker
    assert type(decoder.method) is type(student.method)
    assert (decoder.origin.ranker, student.origin.ranker) == ("decoder", "student:small")
    assert student.origin.prompt == student.fingerprint != decoder.fingerprint
    for ranker in (decoder, student):
        ranking = ranker.rank(requests[0])
        candidates = {candidate.candidate_id for candidate in requests[0].candidates}
        assert scores(ranking).keys() == candidates
        assert [scored.rank for scored in ranking.scored] == list(range(1, len(candidates) + 1))
        assert all(set(s.questions["like"].logprobs) == {"like", "dislike"} for s in ranking.scored)
    assert student.encoder is None
    with pytest.raises(InputError, match="student:small: a student has no adapters"):
        next(student.rank_many(requests, adapter_of=lambda _: "movies"))


@pytest.mark.long
def test_two_tasks_on_one_runtime_share_one_model(project: Path, requests: list[Request]) -> None:
    alone = []
    for task in ("toys/like", "toys/want"):
        with promptrank.open_ranker(task, threads=1, project=project) as ranker:
            alone.append(scores(ranker.rank(requests[0])))
    with Runtime() as runtime:
        first = open_ranker(project, runtime, "packed")
        second = open_ranker(project, runtime, "packed", task="toys/want")
        assert first.opened is second.opened
        assert first.fingerprint != second.fingerprint
        assert scores(first.rank(requests[0])) == pytest.approx(alone[0], abs=1e-5)
        first.close()  # which is not the model's end
        assert scores(second.rank(requests[0])) == pytest.approx(alone[1], abs=1e-5)
        assert alone[0] != pytest.approx(alone[1], abs=1e-5)
    with pytest.raises(ModelError, match="closed"):
        second.rank(requests[0])


@pytest.mark.long
@pytest.mark.parametrize("engine", ENGINES)
def test_several_threads_get_what_each_gets_alone(
    project: Path, runtime: Runtime, requests: list[Request], engine: str
) -> None:
    ranker = open_ranker(project, runtime, engine)
    alone = [ranker.rank(request) for request in requests]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ranker.rank, requests * 3))
    assert len({score for ranking in alone for score in scores(ranking).values()}) > len(alone) > 4
    for expected, ranking in zip(alone * 3, together, strict=True):
        assert ranking.request_id == expected.request_id
        # A forward that others share differs from one of its own by rounding.
        assert scores(ranking) == pytest.approx(scores(expected), abs=1e-5)
        assert not ranking.errors


@pytest.mark.long
def test_a_student_that_was_replaced_is_read_again(project: Path, requests: list[Request]) -> None:
    given: dict[str, Any] = {"project": project, "requests": project / "requests.parquet"}
    given |= {"name": "again", "student": "sequence", "loss": "labels", "timed": 1}
    distill("toys/like", options={"epochs": 1}, **given)
    with Runtime() as runtime:
        before = open_ranker(project, runtime, "student:again")
        assert open_ranker(project, runtime, "student:again").opened is before.opened
        distill("toys/like", options={"epochs": 1}, seed=1, replace_=True, **given)
        after = open_ranker(project, runtime, "student:again")
        assert scores(after.rank(requests[0])) != scores(before.rank(requests[0]))
        with promptrank.open_ranker("toys/like", engine="student:again", project=project) as alone:
            assert scores(after.rank(requests[0])) == scores(alone.rank(requests[0]))


def test_a_closed_runtime_opens_nothing(project: Path) -> None:
    runtime = Runtime()
    runtime.close()
    for engine in ENGINES:
        with pytest.raises(ModelError, match="the runtime is closed"):
            open_ranker(project, runtime, engine)
