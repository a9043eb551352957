"""The decoder student: what it learns from, what it cannot answer, and whose prompts it reads."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptrank
from promptrank.api.distill import distill
from promptrank.engine.limits import model_limits
from promptrank.errors import InputError
from promptrank.prompt import Encoder
from promptrank.ranking.ranker import Ranker
from promptrank.records import Item, Request
from promptrank.runs.scoring import score
from promptrank.runtime.runtime import Runtime
from promptrank.students.card import (
    StudentCard,
    new_student,
    place_of,
    questions_digest,
    read_student,
    write_card,
)
from promptrank.students.decoder import pruned as decoder
from promptrank.students.decoder import taught_examples as on_disk
from promptrank.students.decoder.taught_examples import store, taught_examples
from promptrank.students.latency import latency_of
from promptrank.students.lessons import Learning, make_lessons
from promptrank.students.teacher_agreement import teacher_agreement
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.rankers import student_ranker
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import OpenTask, open_task
from support.models import make_model
from support.students import teacher_scores
from support.toys import make_project

SHARES = np.array([0.25, 0.75])


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenTask:
    root = tmp_path_factory.mktemp("toys")
    make_project(root, make_model(root / "model"))
    promptrank.build("toys/like", root / "requests.parquet", project=root)
    return open_task("toys/like", project=root)


@pytest.fixture(scope="module")
def encoder(opened: OpenTask) -> Encoder:
    folder = opened.project / "model"
    return open_encoder(opened, folder, model_limits(folder).max_tokens)


@pytest.fixture(scope="module")
def requests(opened: OpenTask) -> list[Request]:
    return list(given_file(opened, opened.project / "requests.parquet").read({"train"}))


@pytest.fixture(scope="module")
def ranker(opened: OpenTask, encoder: Encoder, requests: list[Request]) -> Iterator[Ranker]:
    """A decoder student that learned from a teacher's answers alone, as it is served."""
    shares = {(r.request_id, c.candidate_id): [SHARES] for r in requests for c in r.candidates}
    teacher = teacher_scores(opened.task, shares)
    pruned = decoder.fit(
        opened.task,
        encoder,
        opened.project / "model",
        lambda: make_lessons(opened.task, requests, teacher, labelled=set()),
        Learning("direct", options={"layers": 1}),
        lambda _: None,
    )
    place = place_of(opened.project, "taught")
    digest = questions_digest(opened.task)
    with new_student(place, replace=False) as folder:
        pruned.save(folder)
        facts = pruned.facts()
        write_card(
            folder, StudentCard("taught", "decoder", opened.name, digest, "direct", facts=facts)
        )
    with Runtime() as runtime:
        yield student_ranker(opened, read_student(place), runtime)


@pytest.mark.long
def test_hidden_labels_do_not_reach_the_examples(
    opened: OpenTask, encoder: Encoder, requests: list[Request]
) -> None:
    shown, hidden = requests[:2]
    key = hidden.request_id, hidden.candidates[0].candidate_id
    teacher = teacher_scores(opened.task, {key: [SHARES]})
    given = make_lessons(opened.task, [shown, hidden], teacher, labelled={shown.request_id})
    learning = Learning("direct", alpha=0.5)
    examples = {
        e.request_id: e for e in taught_examples(opened.task, encoder, list(given), learning)
    }
    assert examples[shown.request_id].labels == len(shown.candidates)
    assert examples[hidden.request_id].labels == 1
    ((_, (target,)),) = examples[hidden.request_id].branches
    assert target is not None
    assert target.shares == pytest.approx(SHARES)


def test_an_example_weighs_what_label_and_teacher_weigh(
    opened: OpenTask, encoder: Encoder, requests: list[Request]
) -> None:
    request = requests[0]
    pair = tuple(replace(c, weight=2.0) for c in request.candidates[:2])
    teacher = teacher_scores(opened.task, {(request.request_id, pair[0].candidate_id): [SHARES]})
    given = make_lessons(opened.task, [replace(request, candidates=pair)], teacher)
    settings = Learning("direct", alpha=0.5)
    (example,) = taught_examples(opened.task, encoder, list(given), settings)
    weights = [target.weight for _, targets in example.branches for target in targets if target]
    assert weights == pytest.approx([3.0, 2.0])


def test_examples_come_back_from_the_disk_as_they_were(
    opened: OpenTask,
    encoder: Encoder,
    requests: list[Request],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three files' worth of requests; one validates, and one has nothing to learn from."""
    monkeypatch.setattr(on_disk, "WINDOW", 2)
    bare = replace(
        requests[1], candidates=tuple(replace(c, outcomes={}) for c in requests[1].candidates)
    )
    given = [requests[0], bare, replace(requests[2], split="valid"), *requests[3:6]]
    lessons = list(make_lessons(opened.task, given, None))
    stored, about = store(tmp_path / "examples", opened.task, encoder, lessons, Learning("labels"))
    train = [lesson for lesson in lessons if lesson.request.split != "valid"]
    made = list(taught_examples(opened.task, encoder, train, Learning("labels")))
    assert [e.request_id for e in made] == [r.request_id for r in (requests[0], *requests[3:6])]
    assert list(stored) == made
    assert (about.examples, about.longest) == (len(made), max(e.longest for e in made))
    nothing, about = store(tmp_path / "none", opened.task, encoder, [], Learning("labels"))
    assert len(nothing) == about.examples == 0


@pytest.mark.long
def test_what_cannot_be_asked_is_no_answer_and_ends_nothing(
    opened: OpenTask, requests: list[Request], ranker: Ranker
) -> None:
    first, second, *_ = requests[0].candidates
    nameless = replace(second, candidate_id="x", item=Item("odd", {}))
    request = replace(requests[0], candidates=(nameless, first))
    ranking = ranker.rank(request)
    assert [s.candidate_id for s in ranking.scored] == [first.candidate_id]
    assert [e.candidate_id for e in ranking.errors] == ["x"]
    assert ranking.partial
    (alone,) = ranker.rank(replace(request, candidates=(first,))).scored
    logs = ranking.scored[0].questions["like"].logprobs
    assert logs == pytest.approx(alone.questions["like"].logprobs)
    keys = [(request.request_id, name) for name in ("x", first.candidate_id)]
    teacher = teacher_scores(opened.task, {key: [SHARES] for key in keys})
    agreed = teacher_agreement(opened.task, score(ranker, [request]), teacher)
    assert agreed["like.teacher_candidates"] == 1
    assert math.isfinite(agreed["like.teacher_kl"])
    assert latency_of(ranker.rank, [request], 1)["candidates"] == 100
    nobody = score(ranker, [replace(request, candidates=(nameless,))])
    assert len(nobody) == 0
    assert teacher_agreement(opened.task, nobody, teacher) == {}


@pytest.mark.long
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
        timed=1,
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
        del old["facts"]["prompt"], old["sha256"]
        card.write_text(json.dumps(old))
        promptrank.open_ranker("toys/like", **given).close()
    finally:
        template.write_text(before)
