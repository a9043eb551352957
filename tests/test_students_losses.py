"""Losses and the scale, by numbers worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from promptrank.students.scale import Scale, fit_scale
from promptrank.students.sequence.network import layer_dropout
from promptrank.students.targets import Known, Target, cross_entropy, judged_by, select, targets

NAN = float("nan")
# Two answers, (relevant, not). Rows: a hit the teacher doubts, a miss it likes, an unlabelled one,
# and a miss that the teacher was not asked about.
KNOWN = Known(
    labels=np.array([[1.0, 0], [0, 1], [0, 0], [0, 1]]),
    teacher=np.array([[0.5, 0.5], [0.3, 0.7], [0.8, 0.2], [NAN, NAN]]),
    weight=np.array([1.0, 2.0, 1.0, 1.0]),
    values=np.array([1.0, 0.0]),
)
OWN = np.array([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.25, 0.75]])


def test_labels_alone() -> None:
    main, aux = targets(KNOWN, "labels", 0.5, OWN)
    assert aux is None
    assert main.weight.tolist() == [1, 2, 0, 1]
    assert main.answers[0].tolist() == [1, 0]


def test_direct_mixes_label_and_teacher_on_one_output() -> None:
    main, aux = targets(KNOWN, "direct", 0.5, OWN)
    assert aux is None
    # 1 x (1, 0) + 0.5 x (0.5, 0.5) = (1.25, 0.25) over 1.5
    assert main.answers[0] == pytest.approx([1.25 / 1.5, 0.25 / 1.5])
    # weight 2: 2 x (0, 1) + 1 x (0.3, 0.7) = (0.3, 2.7) over 3
    assert main.answers[1] == pytest.approx([0.1, 0.9])
    assert main.answers[2] == pytest.approx([0.8, 0.2])
    assert main.answers[3] == pytest.approx([0, 1])
    assert main.weight.tolist() == [1.5, 3, 0.5, 1]


def test_direct_is_the_sum_of_both_cross_entropies() -> None:
    main, _ = targets(KNOWN, "direct", 0.5, OWN)
    both = cross_entropy(main, OWN) * main.weight.sum()
    by_hand = -(
        math.log(0.9)
        + 0.5 * (0.5 * math.log(0.9) + 0.5 * math.log(0.1))
        + 2 * math.log(0.4)
        + 1.0 * (0.3 * math.log(0.6) + 0.7 * math.log(0.4))
        + 0.5 * (0.8 * math.log(0.1) + 0.2 * math.log(0.9))
        + math.log(0.75)
    )
    assert both == pytest.approx(by_hand)


def test_auxiliary_keeps_the_teacher_off_the_served_output() -> None:
    main, aux = targets(KNOWN, "auxiliary", 0.5, OWN)
    assert aux is not None
    assert main.weight.tolist() == [1, 2, 0, 1]
    assert main.answers[0].tolist() == [1, 0]
    assert aux.answers[1].tolist() == [0.3, 0.7]
    assert aux.weight.tolist() == [0.5, 1, 0.5, 0]


def test_self_auxiliary_learns_the_greater_of_label_and_teacher() -> None:
    main, aux = targets(KNOWN, "self-auxiliary", 1.0, OWN)
    assert aux is not None
    assert main.weight.tolist() == [1, 2, 0, 1]
    # (1, 0.5) gives 1; (0, 0.3) gives 0.3; unlabelled: the teacher; not asked: its own output
    assert aux.answers[:, 0].tolist() == [1, 0.3, 0.8, 0.25]
    assert aux.weight.tolist() == [1, 2, 1, 1]


def test_select_by_worth_of_grades() -> None:
    worth = np.array([0.0, 0.5, 1.0])
    teacher = np.array([[0.2, 0.2, 0.6]])  # expected worth 0.7
    middle, best = np.array([[0.0, 1, 0]]), np.array([[0.0, 0, 1]])
    assert select(middle, teacher, worth).tolist() == teacher.tolist()
    assert select(best, teacher, worth).tolist() == best.tolist()


def test_scale_with_two_answers_is_the_logistic_function() -> None:
    scale = Scale(np.log([0.2, 0.8]), np.array([1.0, 0.0]))
    found = np.exp(scale.log_probabilities(np.array([0.0, 1.0])))
    assert found[0] == pytest.approx([0.2, 0.8])
    assert found[1, 0] == pytest.approx(1 / (1 + math.exp(-(math.log(0.25) + 1))))
    first, second = scale.gradients(
        Target(np.array([[1.0, 0.0]]), np.array([3.0])), np.array([0.0])
    )
    assert first == pytest.approx([3 * (0.2 - 1)])
    assert second == pytest.approx([3 * 0.2 * 0.8])


def test_scale_gradients_are_derivatives() -> None:
    scale = Scale(np.log([0.5, 0.3, 0.2]), np.array([0.0, 0.25, 1.0]))
    target = Target(np.array([[0.1, 0.6, 0.3]]), np.array([1.0]))

    def loss(output: float) -> float:
        return cross_entropy(target, np.exp(scale.log_probabilities(np.array([output]))))

    first, second = scale.gradients(target, np.array([0.7]))
    step = 1e-4
    slope = (loss(0.7 + step) - loss(0.7 - step)) / (2 * step)
    bend = (loss(0.7 + step) - 2 * loss(0.7) + loss(0.7 - step)) / step**2
    assert first[0] == pytest.approx(slope, abs=1e-6)
    assert second[0] == pytest.approx(bend, abs=1e-4)


def test_scale_starts_at_the_base_rates() -> None:
    target = Target(np.array([[1.0, 0], [0, 1], [0, 1], [0, 1]]), np.array([1.0, 1, 1, 0]))
    scale = fit_scale(target, np.array([1.0, 0.0]))
    assert np.exp(scale.base) == pytest.approx([1 / 3, 2 / 3])


def test_dropout_by_layer() -> None:
    assert layer_dropout(0.1, 3) == [0.1, 0.1, 0.1]
    assert layer_dropout([0.5, 0.1], 3) == pytest.approx([0.5, 0.3, 0.1])


def test_labels_stop_a_training_where_both_parts_have_some() -> None:
    none = replace(KNOWN, labels=np.zeros_like(KNOWN.labels))
    weightless = replace(KNOWN, weight=np.zeros_like(KNOWN.weight))
    assert judged_by(KNOWN, KNOWN) == "labels"
    for train, valid in ((none, KNOWN), (KNOWN, none), (KNOWN, weightless)):
        assert judged_by(train, valid) == "direct"
