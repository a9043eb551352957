"""The decoder student: what it learns from, what it cannot answer, and whose prompts it reads."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import promptrank
from promptrank.api.distill import distill
from promptrank.api.latency import latency_of
from promptrank.api.ranker import open_encoder
from promptrank.api.requests import read
from promptrank.api.tasks import OpenTask, open_task
from promptrank.engine.limits import model_limits
from promptrank.errors import InputError
from promptrank.prompt import Encoder
from promptrank.ranking.loop import rank_answers
from promptrank.records import Item, Request
from promptrank.students.decoder import pruned as decoder
from promptrank.students.lessons import Learning, make_lessons
from promptrank.students.serve import slot_scores
from promptrank.students.teacher_agreement import agreement
from support import toys as toy_project
from support.models import make_model

SHARES = np.array([0.25, 0.75])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenTask:
    root = tmp_path_factory.mktemp("toys")
    toy_project.make_project(root, make_model(root / "model"))
    promptrank.build("toys/like", root / "requests.parquet", project=root)
    return open_task("toys/like", project=root)


@pytest.fixture(scope="module")
def encoder(opened: OpenTask) -> Encoder:
    folder = opened.project / "model"
    return open_encoder(opened, folder, model_limits(folder).max_tokens)


@pytest.fixture(scope="module")
def requests(opened: OpenTask) -> list[Request]:
    return list(read(opened, opened.project / "requests.parquet", {"train"}, {}))


@pytest.fixture(scope="module")
def student(
    opened: OpenTask, encoder: Encoder, requests: list[Request]
) -> Iterator[decoder.DecoderStudent]:
    taught = {(r.request_id, c.candidate_id): [SHARES] for r in requests for c in r.candidates}
    found = decoder.fit(
        opened.task,
        encoder,
        opened.project / "model",
        lambda: make_lessons(opened.task, requests, taught, labelled=set()),
        Learning("direct", options={"layers": 1}),
        lambda _: None,
    )
    yield found
    found._engine.close()
    found._folder.cleanup()


def test_hidden_labels_do_not_reach_the_examples(
    opened: OpenTask, encoder: Encoder, requests: list[Request]
) -> None:
    shown, hidden = requests[:2]
    taught = {(hidden.request_id, hidden.candidates[0].candidate_id): [SHARES]}
    given = make_lessons(opened.task, [shown, hidden], taught, labelled={shown.request_id})
    found = {
        e.request_id: e
        for e in decoder._examples(opened.task, encoder, given, Learning("direct", alpha=0.5))
    }
    assert found[shown.request_id].labels == len(shown.candidates)
    assert found[hidden.request_id].labels == 1
    ((_, (target,)),) = found[hidden.request_id].branches
    assert target is not None
    assert target.shares == pytest.approx(SHARES)


def test_an_example_weighs_what_label_and_teacher_weigh(
    opened: OpenTask, encoder: Encoder, requests: list[Request]
) -> None:
    request = requests[0]
    pair = tuple(replace(c, weight=2.0) for c in request.candidates[:2])
    taught = {(request.request_id, pair[0].candidate_id): [SHARES]}
    given = make_lessons(opened.task, [replace(request, candidates=pair)], taught)
    settings = Learning("direct", alpha=0.5)
    (example,) = decoder._examples(opened.task, encoder, given, settings)
    weights = [target.weight for _, targets in example.branches for target in targets if target]
    assert weights == pytest.approx([3.0, 2.0])


def test_what_cannot_be_asked_is_no_answer_and_ends_nothing(
    opened: OpenTask, requests: list[Request], student: decoder.DecoderStudent
) -> None:
    first, second, *_ = requests[0].candidates
    nameless = replace(second, candidate_id="x", item=Item("odd", {}))
    request = replace(requests[0], candidates=(nameless, first))
    answers = slot_scores(opened.task, student)
    logs = student.answers(request)["like"]
    assert np.isnan(logs[0]).all()
    assert logs[1] == pytest.approx(
        student.answers(replace(request, candidates=(first,)))["like"][0]
    )
    (ranking,) = rank_answers(opened.task, answers, [request])
    assert [s.candidate_id for s in ranking.scored] == [first.candidate_id]
    assert [e.candidate_id for e in ranking.errors] == ["x"]
    assert ranking.partial
    taught = {(request.request_id, name): [SHARES] for name in ("x", first.candidate_id)}
    found = agreement(opened.task, answers, [request], taught)
    assert found["like.teacher_candidates"] == 1
    assert math.isfinite(found["like.teacher_kl"])
    assert latency_of(student.answers, [request], 1)["candidates"] == 100
    alone = replace(request, candidates=(nameless,))
    assert np.isnan(student.answers(alone)["like"]).all()
    assert agreement(opened.task, answers, [alone], taught) == {}


def test_a_student_of_other_prompts_is_refused(opened: OpenTask) -> None:
    root = opened.project
    made = distill(
        opened,
        name="small",
        student="decoder",
        loss="labels",
        options={"layers": 1},
        requests=root / "requests.parquet",
        limit=20,
    )
    given: dict[str, Any] = {"engine": "student:small", "project": root}
    with promptrank.open_ranker("toys/like", **given) as ranker:
        assert made.student.card.facts["prompt"] == ranker.fingerprint
    template = root / "templates/toys/like.j2"
    before = template.read_text()
    template.write_text(before.replace("Toy:", "A toy:"))
    try:
        with pytest.raises(InputError, match="small: the prompts of toys/like have changed"):
            promptrank.open_ranker("toys/like", **given)
        card = made.student.folder / "card.json"
        old = json.loads(card.read_text())
        del old["facts"]["prompt"]
        card.write_text(json.dumps(old))
        promptrank.open_ranker("toys/like", **given).close()
    finally:
        template.write_text(before)
