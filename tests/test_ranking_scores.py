"""Scores from log-probs, by hand; expressions; journals."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrank.api.journal import Journal
from promptrank.engine.contract import SlotScore
from promptrank.ranking.answered import answer, logsumexp
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
    found = answer(question(score=kind), NAMES, SLOT)
    assert found.score == pytest.approx(score)
    assert found.probability == pytest.approx(0.3 / 0.8)
    assert found.logprobs["yes"] == pytest.approx(math.log(0.3))
    assert (found.label_mass, found.argmax) == (0.8, "no")


def test_relevance_moves_the_line_between_the_groups() -> None:
    found = answer(question(score="log_odds", relevant=0.5), NAMES, SLOT)
    assert found.score == pytest.approx(math.log(0.4 / 0.4))


def test_tiny_probabilities_do_not_underflow() -> None:
    slot = SlotScore((-900.0, -950.0, -901.0, -899.0), 0.0, None)
    found = answer(question(), NAMES, slot)
    odds = math.exp(-1), math.exp(-2), 1.0
    assert found.score == pytest.approx((odds[0] + 0.5 * odds[1]) / sum(odds), rel=1e-6)
    assert found.argmax is None


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=6))
def test_logsumexp_is_log_of_the_sum(values: list[float]) -> None:
    assert logsumexp(values) == pytest.approx(math.log(sum(map(math.exp, values))))


def test_logsumexp_of_nothing_and_of_impossible_is_minus_infinity() -> None:
    assert logsumexp([]) == logsumexp([-math.inf]) == -math.inf


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_expressions_mean_what_python_means(a: float, b: float) -> None:
    found = compile_expression("0.8*a - (b + 2)/4 + max(a, -b, 1)")
    assert found({"a": a, "b": b}) == pytest.approx(0.8 * a - (b + 2) / 4 + max(a, -b, 1))


@pytest.mark.parametrize(
    "text", ["a.b", "a[0]", "f(a)", "a**b", "max()", "'a'", "a if b else c", "a =", "True", ""]
)
def test_an_expression_cannot_say_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match="allowed"):
        names_in(text)


def test_a_journal_resumes_and_drops_a_torn_line(tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    with Journal(out, "d1") as journal:
        journal.add("r1", [{"score": 1.0}], [])
        journal.add("r2", [], [{"reason": "x"}])
    with journal.path.open("ab") as file:
        file.write(b'{"request_id": "r3", "rows": [{"sc')
    with Journal(out, "d1") as journal:
        assert journal.done == {"r1", "r2"}
        journal.add("r4", [{"score": 2.0}], [])
        assert [e["request_id"] for e in journal.entries()] == ["r1", "r2", "r4"]
    lines = journal.path.read_bytes().splitlines()
    assert [json.loads(line).get("request_id") for line in lines] == [None, "r1", "r2", "r4"]


def test_a_journal_of_another_run_starts_over_and_a_finished_one_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    with Journal(out, "d1") as journal:
        journal.add("r1", [], [])
    with Journal(out, "d2") as journal:
        assert journal.done == set()
        journal.finish()
    assert not journal.path.exists()
