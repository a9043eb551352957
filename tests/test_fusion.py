"""The fused score: its arithmetic, its fit, and what it says of the decoder's own share."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from promptrank.basics.numbers import sigmoid
from promptrank.errors import DataError, ModelError, RowError
from promptrank.evaluation.compare import compare
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_markdown import markdown
from promptrank.fusion.fitting import FusionRows, fit_fusion, names_of, rows_of
from promptrank.fusion.fusion_files import read_fusion, write_fusion
from promptrank.fusion.layers import (
    FittedFusion,
    FittedOn,
    Layer,
    Weight,
    field_values,
    log_odds,
)
from promptrank.fusion.scored import fused_scores, without_decoder
from promptrank.fusion.step import FusionStep
from promptrank.prompt.budget import Cuts
from promptrank.ranking.answered import Answered
from promptrank.ranking.ranking import Change, Ranking, Scored
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.schema.parts import Question
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of
from support.data import make_task

LAYER = Layer(0.5, (Weight("decoder.like", 1.0, 2.0, 3.0), Weight("stats.n", 10.0, 4.0, -1.0, 0.2)))


def test_a_layer_is_plain_arithmetic() -> None:
    # 0.5 + 3 * (2 - 1) / 2 - 1 * (18 - 10) / 4
    assert LAYER.log_odds({"decoder.like": 2.0, "stats.n": 18.0}) == pytest.approx(0.0)
    # A missing number adds what its absence says: 0.5 + 0 + 0.2.
    assert LAYER.log_odds({"decoder.like": 1.0, "stats.n": None}) == pytest.approx(0.7)
    assert LAYER.log_odds({"decoder.like": 1.0, "other": 9.0}) == pytest.approx(0.7)


def test_log_odds_whatever_the_kind_of_score() -> None:
    answers = {n: {"say": n, "value": v} for n, v in (("five", 5), ("four", 4), ("one", 1))}
    said = {"five": math.log(0.5), "four": math.log(0.2), "one": math.log(0.1)}
    for kind in ("expected", "log_odds", "log_likelihood"):
        question = Question.model_validate({"answers": answers, "score": kind})
        assert log_odds(question, said) == pytest.approx(math.log(0.5 / 0.3))
    four = Question.model_validate({"answers": answers, "relevant": 4})
    assert log_odds(four, said) == pytest.approx(math.log(0.7 / 0.1))


def candidate(**fields: Any) -> Candidate:
    return Candidate("c", Item("i", fields), stats={"n": 3}, context={"km": Decimal("2.5")})


def test_numbers_of_a_candidate() -> None:
    request = Request("r", Subject(member={"age": np.int64(30)}), (candidate(new=True),))
    fields = ("stats.n", "context.km", "item.new", "member.age", "item.none", "query.x")
    assert field_values(request, request.candidates[0], fields) == {
        "stats.n": 3.0,
        "context.km": 2.5,
        "item.new": 1.0,
        "member.age": 30.0,
        "item.none": None,
        "query.x": None,
    }
    for absent in (None, math.nan, math.inf):
        assert field_values(request, candidate(x=absent), ("item.x",)) == {"item.x": None}
    with pytest.raises(RowError, match=r"item\.x is str"):
        field_values(request, candidate(x="3"), ("item.x",))


def rows(values: list[dict[str, float | None]], relevant: list[bool]) -> FusionRows:
    return FusionRows(list(values), relevant, [1.0] * len(relevant))


def test_the_fit_solves_its_equation() -> None:
    # Two rows at -1 and +1 after scaling; the ridge penalty's optimum has w = 2 / (1 + e^w).
    fused, without = fit_fusion(
        rows([{"decoder.q": 3.0, "a": 0.0}, {"decoder.q": 7.0, "a": 0.0}], [False, True]),
        ["decoder.q", "a"],
    )
    decoder, constant = fused.weights
    assert (decoder.mean, decoder.scale) == (5.0, 2.0)
    assert decoder.slope == pytest.approx(2 / (1 + math.exp(decoder.slope)), abs=1e-3)
    assert decoder.slope == pytest.approx(0.675, abs=1e-3)
    assert constant.slope == 0  # it never changes
    assert fused.intercept == pytest.approx(0, abs=1e-4)
    assert [weight.name for weight in without.weights] == ["a"]


def test_weights_count_as_repeated_rows() -> None:
    values: list[dict[str, float | None]] = [{"a": 0.0}, {"a": 1.0}, {"a": 1.0}, {"a": 0.0}]
    relevant = [False, True, False, True]
    doubled, _ = fit_fusion(rows([*values, values[1]], [*relevant, True]), ["a"])
    heavier = rows(values, relevant)
    heavier.weight[1] = 2.0
    weighed, _ = fit_fusion(heavier, ["a"])

    def odds(layer: Layer) -> float:
        return layer.log_odds({"a": 1.0})

    # Standardisation sees rows, not weights, so the penalty differs a little.
    assert odds(weighed) == pytest.approx(odds(doubled), abs=0.05)
    assert odds(weighed) > odds(fit_fusion(rows(values, relevant), ["a"])[0]) + 0.1


def test_a_missing_number_is_the_mean_and_what_its_absence_says() -> None:
    values: list[dict[str, float | None]] = [{"a": 1.0}, {"a": 3.0}, {"a": None}, {"a": math.nan}]
    values[3] = {}
    (weight,) = fit_fusion(rows(values * 10, [False, False, True, True] * 10), ["a"])[0].weights
    assert (weight.mean, weight.scale) == (2.0, 1.0)
    assert weight.missing > 2
    even = [True, False, True, False]
    (weight,) = fit_fusion(rows(values * 10, even * 10), ["a"])[0].weights
    assert weight.missing == pytest.approx(0, abs=1e-3)
    # Absent at ranking, never at fitting: the mean, and nothing more.
    layer, _ = fit_fusion(rows([{"a": 1.0}, {"a": 3.0}] * 10, [False, True] * 10), ["a"])
    assert layer.log_odds({}) == pytest.approx(layer.log_odds({"a": 2.0}), abs=1e-9)


def test_a_number_that_is_always_missing_says_nothing() -> None:
    layer, _ = fit_fusion(rows([{"a": 1.0}, {"a": 2.0}] * 5, [True, False] * 5), ["a", "b"])
    always = layer.weights[1]
    assert (always.name, always.mean, always.scale, always.slope) == ("b", 0.0, 1.0, 0.0)
    assert always.missing == pytest.approx(0, abs=1e-3)


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(DataError, match="no labelled candidate"):
        fit_fusion(FusionRows(), ["a"])
    with pytest.raises(DataError, match="one class"):
        fit_fusion(rows([{"a": 1.0}, {"a": 2.0}], [True, True]), ["a"])
    weightless = rows([{"a": 1.0}, {"a": 2.0}], [True, False])
    weightless.weight[1] = 0.0
    with pytest.raises(DataError, match="one class"):
        fit_fusion(weightless, ["a"])


FUSION = FittedFusion(
    "toys/like",
    ("stats.n",),
    LAYER,
    Layer(0.1, LAYER.weights[1:]),
    FittedOn("valid", "d" * 64, 5, 25, 10),
    "m" * 64,
    None,
    {"template": "t", "answers": "a"},
    {"python": "3"},
    ("promptrank", "fuse"),
    "2026-01-01T00:00:00+00:00",
)


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "fusions" / "f.json"
    write_fusion(path, FUSION)
    assert read_fusion(path) == FUSION
    assert [p.name for p in path.parent.iterdir()] == ["f.json"]


def test_a_file_fitted_on_another_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    write_fusion(path, FUSION)
    facts = json.loads(path.read_text())
    facts["fitted_on"]["part"] = "test"
    path.write_text(json.dumps(facts))
    with pytest.raises(ModelError, match=r"fitted_on\.part: "):
        read_fusion(path)


@pytest.mark.long
def test_a_file_is_used_without_sklearn(tmp_path: Path) -> None:
    write_fusion(tmp_path / "f.json", FUSION)
    code = (
        "import sys, pathlib; from promptrank.fusion.fusion_files import read_fusion;"
        f"f = read_fusion(pathlib.Path({str(tmp_path / 'f.json')!r}));"
        "print(f.fused.log_odds({'decoder.like': 2.0, 'stats.n': 18.0}));"
        "assert not {'sklearn', 'numpy', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 0.0


QUESTION = {"answers": {"yes": {"say": "Yes", "value": 1}, "no": {"say": "No", "value": 0}}}
TASK = make_task(questions={"q": QUESTION}, metrics=["auc", "log_loss"])


def decoder_scores(odds: dict[tuple[str, str], float]) -> Scores:
    """A decoder's scores with these log-odds of yes."""
    chances = [sigmoid(value) for value in odds.values()]
    scores = scores_of(list(odds), chances, chances, Origin("decoder"))
    columns = {name: scores.table.column(name) for name in scores.table.column_names}
    columns["q_logprob_yes"] = pa.array([math.log(chance) for chance in chances])
    columns["q_logprob_no"] = pa.array([math.log(sigmoid(-value)) for value in odds.values()])
    return Scores(pa.table(columns), scores.origin)


def planted(signal: float, seed: int) -> Report:
    """A world in which relevance follows a known number, and the decoder's part of the truth.

    log-odds of relevance = 1.0 * field + 1.5 * hidden; the decoder reports hidden * signal + noise.
    """
    generator = np.random.default_rng(seed)
    odds: dict[tuple[str, str], float] = {}

    def part(subjects: int) -> list[Request]:
        requests = []
        for subject in range(subjects):
            name = f"{subjects}-{subject}"
            field, hidden, noise = generator.normal(size=(3, 12))
            chance = 1 / (1 + np.exp(-(field + 1.5 * hidden)))
            relevant = generator.random(12) < chance
            candidates = []
            for i in range(12):
                odds[name, f"c{i}"] = signal * hidden[i] + noise[i]
                outcome = {"q": "yes" if relevant[i] else "no"}
                item = Item(f"i{i}", {"x": field[i]})
                candidates.append(Candidate(f"c{i}", item, outcomes=outcome))
            requests.append(Request(name, Subject(member_id=name), tuple(candidates)))
        return requests

    valid, test = part(150), part(120)
    scores = decoder_scores(odds)
    fitted, used = rows_of(TASK, valid, scores, ("item.x",), *gain_of(TASK))
    assert (used, len(fitted.values)) == (150, 150 * 12)
    fused, without = fit_fusion(fitted, names_of(TASK, ["item.x"]))
    fusion = replace(FUSION, fields=("item.x",), fused=fused, without=without)
    rankers = {
        "fused": fused_scores(fusion, TASK, test, scores, "fused"),
        "fields": without_decoder(fusion, test, "fields"),
    }
    return compare(TASK, test, rankers, draws=300, pairs=[("fused", "fields")])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_decoder_that_is_noise_adds_nothing(seed: int) -> None:
    (pair,) = planted(0.0, seed).pairs
    gap = pair.differences["auc"]
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low <= 0 <= gap.high
    assert gap.verdict is None


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_decoder_that_knows_something_adds_that(seed: int) -> None:
    report = planted(1.0, seed)
    (pair,) = report.pairs
    for metric, sign in (("auc", 1), ("log_loss", -1)):
        gap = pair.differences[metric]
        assert gap.low is not None
        assert gap.high is not None
        assert sign * gap.value > 0
        assert gap.low > 0 or gap.high < 0
        assert gap.verdict == "better"
    assert pair.differences["auc"].value > 0.05
    assert "fused minus fields, paired:" in markdown(report)


def test_a_pair_is_the_difference_to_the_reference_turned_round() -> None:
    report = planted(1.0, 0)
    (pair,) = report.pairs
    other = report.rankers[1].differences["auc"]
    gap = pair.differences["auc"]
    assert gap.value == pytest.approx(-other.value)
    assert other.low is not None
    assert gap.high == pytest.approx(-other.low)


def test_a_pair_of_rankers_that_are_absent_is_left_out() -> None:
    report = planted(1.0, 0)
    assert replace(report, pairs=()).to_json() != report.to_json()
    labelled = replace(candidate(), outcomes={"q": "yes"})
    request = Request("r", Subject(member_id="m"), (labelled,))
    scores = scores_of([("r", "c")], [1.0], None, Origin("a"))
    assert compare(TASK, [request], {"a": scores}, draws=0, pairs=[("a", "b")]).pairs == ()


STEP_FUSION = replace(
    FUSION,
    fields=("item.x",),
    fused=Layer(0.5, (Weight("decoder.q", 0.0, 1.0, 1.0), Weight("item.x", 0.0, 1.0, 2.0))),
)


def ranked(odds: dict[str, float], fields: dict[str, Any]) -> Ranking:
    """A ranking by the decoder's log-odds, best first."""
    candidates = tuple(Candidate(name, Item(name, {"x": fields[name]})) for name in fields)
    request = Request("r", Subject(member_id="m"), candidates)
    scored = []
    for rank, (name, value) in enumerate(sorted(odds.items(), key=lambda pair: -pair[1]), 1):
        chance = sigmoid(value)
        said = {"yes": math.log(chance), "no": math.log(sigmoid(-value))}
        answered = Answered(chance, chance, said, 1.0, None)
        scored.append(Scored(name, name, chance, rank, chance, chance, {"q": answered}))
    return Ranking("r", "m", tuple(scored), False, (), Cuts(), request)


def test_the_step_keeps_the_decoders_score_and_says_what_it_changed() -> None:
    before = ranked({"a": 1.0, "b": 0.0, "c": -1.0}, {"a": 0.0, "b": 0.5, "c": 2})
    after = FusionStep(STEP_FUSION, TASK)(before)
    # 0.5 + log-odds + 2 * x
    assert [(s.candidate_id, s.rank) for s in after.scored] == [("c", 1), ("a", 2), ("b", 3)]
    assert [s.score for s in after.scored] == pytest.approx([3.5, 1.5, 1.5])
    first = after.scored[0]
    assert first.probability == pytest.approx(sigmoid(3.5))
    assert first.method_score == before.scored[2].score
    assert first.questions == before.scored[2].questions
    why = "log-odds of the decoder and 1 number, fused"
    assert first.changes == (Change("fusion", first.method_score, 3, why),)
    assert not after.partial


def test_what_the_step_cannot_use_is_an_error_and_the_ranking_is_partial() -> None:
    before = ranked({"a": 1.0, "b": 0.0, "c": -1.0}, {"a": "big", "b": None, "c": 0})
    after = FusionStep(STEP_FUSION, TASK)(before)
    assert [(s.candidate_id, s.rank) for s in after.scored] == [("b", 1), ("c", 2)]
    assert after.partial
    (error,) = after.errors
    assert (error.request_id, error.candidate_id) == ("r", "a")
    assert (error.stage, error.reason) == ("fusion", "fusion_not_a_number")


def test_fused_scores_of_a_file_are_those_of_the_step() -> None:
    odds, fields = {"a": 1.0, "b": 0.25, "c": -1.0}, {"a": 0.5, "b": "big", "c": None, "d": 1.0}
    after = FusionStep(STEP_FUSION, TASK)(ranked(odds, fields))
    request = after.request
    given = decoder_scores({("r", name): value for name, value in odds.items()})
    scores = fused_scores(STEP_FUSION, TASK, [request], given, "fused")
    by_key = dict(zip(scores.keys, scores.numbers("score"), strict=True))
    for scored in after.scored:
        assert by_key["r", scored.candidate_id] == pytest.approx(scored.score, abs=1e-12)
    # A number that is none, and a candidate that the decoder has not scored.
    assert np.isnan([by_key["r", "b"], by_key["r", "d"]]).all()
    alone = without_decoder(STEP_FUSION, [request], "alone")
    assert np.isnan(alone.numbers("score")).tolist() == [False, True, False, False]
