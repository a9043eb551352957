"""Scores from log-probs, by hand; expressions."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrank.basics.numbers import logsumexp
from promptrank.engine.contract import SlotScore
from promptrank.ranking.answered import answer
from promptrank.schema.expression import compile_expression, names_in
from promptrank.schema.parts import Question


def question(**more: Any) -> Question:
    answers = {
        "yes": {"say": ["Yes", "yes"], "value": 1},
        "maybe": {"say": "Perhaps", "value": 0.5},
        "no": {"say": "No", "value": 0},
    }
    return Question.model_validate({"answers": answers, **more})


# Probabilities .2 and .1 (two wordings of yes), .1 (maybe), .4 (no): .8 in all.
SLOT = SlotScore(tuple(math.log(p) for p in (0.2, 0.1, 0.1, 0.4)), 0.8, 3)
NAMES = ("yes", "yes", "maybe", "no")


@pytest.mark.parametrize(
    ("kind", "score"),
    [
        ("expected", (0.3 * 1 + 0.1 * 0.5) / 0.8),
        ("log_odds", math.log(0.3 / 0.5)),
        ("log_likelihood", math.log(0.3)),
    ],
)
def test_each_kind_of_score_by_hand(kind: str, score: float) -> None:
    answered = answer(question(score=kind), NAMES, SLOT)
    assert answered.score == pytest.approx(score)
    assert answered.probability == pytest.approx(0.3 / 0.8)
    assert answered.logprobs["yes"] == pytest.approx(math.log(0.3))
    assert (answered.label_mass, answered.argmax) == (0.8, "no")


def test_relevance_moves_the_line_between_the_groups() -> None:
    answered = answer(question(score="log_odds", relevant=0.5), NAMES, SLOT)
    assert answered.score == pytest.approx(math.log(0.4 / 0.4))


def test_tiny_probabilities_do_not_underflow() -> None:
    slot = SlotScore((-900.0, -950.0, -901.0, -899.0), 0.0, None)
    answered = answer(question(), NAMES, slot)
    odds = math.exp(-1), math.exp(-2), 1.0
    assert answered.score == pytest.approx((odds[0] + 0.5 * odds[1]) / sum(odds), rel=1e-6)
    assert answered.argmax is None


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=6))
def test_logsumexp_is_log_of_the_sum(values: list[float]) -> None:
    assert logsumexp(values) == pytest.approx(math.log(sum(map(math.exp, values))))


def test_logsumexp_of_nothing_and_of_impossible_is_minus_infinity() -> None:
    assert logsumexp([]) == logsumexp([-math.inf]) == -math.inf


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_expressions_mean_what_python_means(a: float, b: float) -> None:
    combine = compile_expression("0.8*a - (b + 2)/4 + max(a, -b, 1)")
    assert combine({"a": a, "b": b}) == pytest.approx(0.8 * a - (b + 2) / 4 + max(a, -b, 1))


@pytest.mark.parametrize(
    "text", ["a.b", "a[0]", "f(a)", "a**b", "max()", "'a'", "a if b else c", "a =", "True", ""]
)
def test_an_expression_cannot_say_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        names_in(text)
