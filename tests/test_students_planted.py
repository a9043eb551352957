"""The effects that the losses were published for, on data whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from promptrank.errors import DataError, InputError, ModelError
from promptrank.students.gbdt import trees as gbdt
from promptrank.students.lessons import Learning, Lesson
from promptrank.students.sequence import sasrec as sequence
from promptrank.students.student import Student
from promptrank.students.targets import Loss
from promptrank.students.teacher_agreement import auc
from support.students import Floats, Planted, lessons, plant, planted_task, sigmoid

TASK = planted_task()
OPTIONS = {"rounds": 80, "leaves": 15, "patience": 20, "learning_rate": 0.1}


def logit(x: Floats) -> Floats:
    found: Floats = 1.2 * np.sin(1.5 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.8 * x[:, 3] - 0.5
    return found


def fit(found: list[Lesson], loss: Loss, alpha: float = 1.0) -> gbdt.Gbdt:
    return gbdt.fit(TASK, lambda: found, Learning(loss, alpha, options=OPTIONS), lambda _: None)


def chances(student: Student, planted: Planted) -> Floats:
    answers = [np.exp(student.answers(r)["good"][:, 0]) for r in planted.requests("test", "t")]
    return np.concatenate(answers)


TRAIN, VALID, TEST = (plant(n, logit, 20, s) for n, s in ((12000, 1), (1000, 2), (4000, 3)))
FEW, SEEN = TRAIN.first(2000), TEST.first(1000)  # for the tests that must be quick


@pytest.fixture(scope="module")
def taught() -> list[Lesson]:
    """A thousand labels, twelve thousand answers of a teacher whose log-odds are 0.7 too high."""
    noise = np.random.default_rng(4).normal(size=len(TRAIN.x))
    teacher = sigmoid(logit(TRAIN.x) + 0.7 + 0.5 * noise)
    requests = TRAIN.requests("train")
    labelled = lessons(requests, TRAIN.truth, teacher)[:100]
    valid = lessons(VALID.requests("valid", "v"), VALID.truth)
    return [*labelled, *lessons(requests, None, teacher)[100:], *valid]


@pytest.mark.slow
def test_a_biased_teacher_shifts_direct_and_not_auxiliary(taught: list[Lesson]) -> None:
    plain, direct, auxiliary = (
        chances(fit(taught, loss), TEST) for loss in ("labels", "direct", "auxiliary")
    )
    true = TEST.chance.mean()
    assert abs(plain.mean() - true) < 0.02
    assert direct.mean() - true > 0.05
    assert abs(auxiliary.mean() - plain.mean()) < 0.01
    # And the unbiased part of what it knows is learned all the same.
    gain = (auc(TEST.truth, auxiliary) or 0) - (auc(TEST.truth, plain) or 0)
    assert gain > 0.01


@pytest.mark.slow
def test_self_auxiliary_sees_through_positives_recorded_as_negatives() -> None:
    generator = np.random.default_rng(5)
    recorded = TRAIN.truth & (generator.random(len(TRAIN.x)) >= 0.3)
    teacher = sigmoid(logit(TRAIN.x) + 0.5 * generator.normal(size=len(TRAIN.x)))
    requests = TRAIN.requests("train")
    valid = lessons(
        VALID.requests("valid", "v"), VALID.truth & (generator.random(len(VALID.x)) >= 0.3)
    )
    labelled = lessons(requests, recorded, teacher)[:500]  # 5,000 labels
    more = lessons(requests, None, teacher)[500:]
    plain = chances(fit([*labelled, *valid], "labels"), TEST)
    found = chances(fit([*labelled, *more, *valid], "self-auxiliary", 3.0), TEST)
    assert (auc(TEST.truth, found) or 0) - (auc(TEST.truth, plain) or 0) >= 0.01
    # Its served output still says how often a positive is recorded.
    assert abs(found.mean() - plain.mean()) < 0.01


@pytest.mark.long
def test_the_second_output_is_not_served(tmp_path: Path) -> None:
    given = lessons(FEW.requests("train"), FEW.truth, FEW.chance)[:60]
    for kind, options in ((gbdt, {"rounds": 5}), (sequence, {"epochs": 1})):
        student = kind.fit(TASK, lambda: given, Learning(options=options), lambda _: None)
        folder = tmp_path / kind.__name__
        folder.mkdir()
        student.save(folder)
        again = kind.load(TASK, folder, 1)
        assert chances(again, SEEN) == pytest.approx(chances(student, SEEN), abs=1e-6)
    assert b"aux" not in (tmp_path / sequence.__name__ / "weights.safetensors").read_bytes()
    text = (tmp_path / gbdt.__name__ / "good.lgb.txt").read_text()
    assert text.count("num_tree_per_iteration=1") == 1


@pytest.mark.long
def test_a_student_may_learn_from_the_teacher_alone() -> None:
    bare = lessons(FEW.requests("train"), None, FEW.chance)
    assert (auc(SEEN.truth, chances(fit(bare, "direct"), SEEN)) or 0) > 0.7
    # And from nothing else: what the teacher has the wrong way round, the student has too.
    wrong = lessons(FEW.requests("train"), None, 1 - FEW.chance)
    assert (auc(SEEN.truth, chances(fit(wrong, "direct"), SEEN)) or 1) < 0.3


@pytest.mark.slow
def test_lambdamart_ranks_and_is_calibrated() -> None:
    found = [
        *lessons(TRAIN.requests("train"), TRAIN.truth)[:300],
        *lessons(VALID.requests("valid", "v"), VALID.truth),
    ]
    settings = Learning("labels", options={"objective": "lambdamart", "rounds": 60})
    student = gbdt.fit(TASK, lambda: found, settings, lambda _: None)
    p = chances(student, TEST)
    assert (auc(TEST.truth, p) or 0) > 0.68
    assert abs(p.mean() - TEST.chance.mean()) < 0.03
    with pytest.raises(InputError, match="lambdamart has one output"):
        gbdt.fit(
            TASK,
            lambda: found,
            Learning("self-auxiliary", options={"objective": "lambdamart"}),
            lambda _: None,
        )


def test_too_few_labels_and_constant_columns_are_refused() -> None:
    many = lessons(FEW.requests("train"), FEW.truth)
    few = many[:4]
    with pytest.raises(DataError, match=r"good: 40 training labels \(.*too few"):
        fit(few, "labels")
    flat = plant(200, lambda x: x[:, 0], 3, 6)
    still = Planted(np.zeros_like(flat.x), flat.chance, flat.truth)
    with pytest.raises(DataError, match="no column of the training requests ever changes"):
        fit(lessons(still.requests("train"), still.truth), "labels")
    with pytest.raises(DataError, match="the teacher has answered for no training candidate"):
        fit(many[:50], "auxiliary")


def test_a_broken_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"features\.json: cannot be read"):
        gbdt.load(TASK, tmp_path, None)
    with pytest.raises(ModelError, match=r"inputs\.json: cannot be read"):
        sequence.load(TASK, tmp_path, None)
