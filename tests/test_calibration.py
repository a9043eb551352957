"""Calibration: temperature, Platt and isotonic on planted log-odds, and that ranks stay."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from promptrank.basics.numbers import sigmoid
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError, ModelError, TaskError
from promptrank.fusion.calibrating import calibrate_nothing, check_rate, fit_calibration, rate_alone
from promptrank.fusion.fitting import FusionRows
from promptrank.fusion.fusion_files import read_fusion, write_fusion
from promptrank.fusion.layers import FittedFusion, FittedOn
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.schema.fusion_options import Calibration
from promptrank.schema.load import parse_task
from support.toys import TASK, make_project
from test_task_files import GOOD

KINDS: tuple[Calibration, ...] = ("temperature", "platt", "isotonic")
Run = Callable[..., Any]


def planted(slope: float, offset: float, rows: int = 4000, seed: int = 0) -> FusionRows:
    """A decoder that says z where the log-odds of relevance are slope * z + offset."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(scale=2.0, size=rows)
    chance = 1 / (1 + np.exp(-(slope * odds + offset)))
    relevant = generator.random(rows) < chance
    values: list[dict[str, float | None]] = [{"decoder.q": float(z)} for z in odds]
    return FusionRows(list(values), relevant.tolist(), [1.0] * rows)


def fitted(rows: FusionRows, by: Calibration) -> FittedFusion:
    layer, without, knots = fit_calibration(rows, "q", by)
    on = FittedOn("valid", "d", 1, len(rows.values), sum(rows.relevant))
    return FittedFusion(
        "toys/like", (), layer, without, on, "m", None, {}, {}, (), "2026", by=by, knots=knots
    )


def said(fusion: FittedFusion, odds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.array([sigmoid(fusion.log_odds({"decoder.q": float(z)})) for z in odds])


def test_planted_numbers_come_back() -> None:
    # The decoder is twice as sure as it may be: T = 2.
    temperature = fitted(planted(0.5, 0.0), "temperature").fused.weights[0]
    assert 1 / temperature.slope == pytest.approx(2.0, rel=0.06)
    platt = fitted(planted(0.5, -1.0), "platt")
    at = {z: platt.log_odds({"decoder.q": z}) for z in (0.0, 2.0)}
    assert at[0.0] == pytest.approx(-1.0, abs=0.1)
    assert at[2.0] - at[0.0] == pytest.approx(1.0, abs=0.1)
    assert platt.without.log_odds({}) == pytest.approx(
        math.log(np.mean(planted(0.5, -1.0).relevant) / (1 - np.mean(planted(0.5, -1.0).relevant)))
    )


def test_the_same_as_the_libraries_own() -> None:
    rows, grid = planted(0.7, 0.5, rows=300, seed=2), np.linspace(-9, 9, 101)
    odds = np.array([values["decoder.q"] for values in rows.values], dtype=np.float64)
    rows.weight = [1.0 + i % 3 for i in range(300)]
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(odds, rows.relevant, rows.weight)
    expected = np.clip(isotonic.predict(grid), 0.5 / 300, 1 - 0.5 / 300)
    # Its ends are kept from 0 and 1 before, not after, lines are drawn to them.
    assert said(fitted(rows, "isotonic"), grid) == pytest.approx(expected, abs=0.5 / 300)
    scaled = ((odds - odds.mean()) / odds.std())[:, None]
    platt = LogisticRegression().fit(scaled, rows.relevant, rows.weight)
    expected = platt.predict_proba(((grid - odds.mean()) / odds.std())[:, None])[:, 1]
    assert said(fitted(rows, "platt"), grid) == pytest.approx(expected, abs=1e-4)
    slope = fitted(rows, "temperature").fused.weights[0].slope
    losses = {
        factor: float(
            np.array(rows.weight)
            @ np.logaddexp(0, np.where(rows.relevant, -1, 1) * odds * slope * factor)
        )
        for factor in (0.98, 1.0, 1.02)
    }
    assert min(losses, key=lambda factor: losses[factor]) == 1.0


def test_what_is_said_becomes_what_happens_on_other_rows() -> None:
    new = planted(0.4, -1.5, seed=9)
    odds = np.array([values["decoder.q"] for values in new.values], dtype=np.float64)

    def gap(chance: np.ndarray[Any, Any]) -> float:
        """Expected calibration error in ten bins of equal mass."""
        bins = np.array_split(np.argsort(odds), 10)
        each = [abs(chance[b].mean() - np.array(new.relevant)[b].mean()) for b in bins]
        return float(np.mean(each))

    before = gap(1 / (1 + np.exp(-odds)))
    after = {by: gap(said(fitted(planted(0.4, -1.5), by), odds)) for by in KINDS}
    assert before > 0.2
    assert after["platt"] < 0.03
    assert after["isotonic"] < 0.03
    assert after["temperature"] < before  # one number cannot move the rate


@pytest.mark.parametrize("by", KINDS)
def test_order_is_kept(by: Calibration) -> None:
    odds = np.sort(np.random.default_rng(1).normal(scale=4, size=500))
    chances = said(fitted(planted(0.5, 1.0), by), odds)
    steps = np.diff(chances)
    assert (steps >= 0).all()
    assert (steps > 0).all() == (by != "isotonic")
    assert ((chances > 0) & (chances < 1)).all()


@pytest.mark.parametrize("by", KINDS)
def test_a_decoder_that_ranks_backwards_is_refused(by: Calibration) -> None:
    with pytest.raises(DataError, match="do not rise with the labels"):
        fit_calibration(planted(-0.5, 0.0), "q", by)


@pytest.mark.parametrize("by", KINDS)
def test_of_numbers_without_meaning_the_flattest_calibration_keeps_ranks(by: Calibration) -> None:
    rows = planted(-0.5, 0.5, 500)
    layer, knots = calibrate_nothing(rows, "q", by)
    on = FittedOn("valid", "d", 1, len(rows.values), sum(rows.relevant))
    fusion = FittedFusion(
        "t", (), layer, rate_alone(rows), on, "fake", None, {}, {}, (), "2026", by=by, knots=knots
    )
    odds = np.sort([float(values["decoder.q"] or 0.0) for values in rows.values])
    chances = said(fusion, odds)
    assert (np.diff(chances) > 0).all()
    middle = sum(rows.relevant) / 500 if by != "temperature" else 0.5
    assert chances.mean() == pytest.approx(middle, abs=0.05)


@pytest.mark.slow
def test_any_calibration_can_be_tried_with_the_fake_engine(run: Run, tmp_path: Path) -> None:
    task = tmp_path / "project/tasks/toys/like.yaml"
    task.write_text(task.read_text().replace("history: {last: 1", "history: {last: 4"))
    settings = ("--set", "fusion={by: temperature}", "--set", "score=fused")
    assert (
        "the fake engine knows nothing of the labels" in run("fuse", "toys/like", *settings).stderr
    )
    assert "fused " in run("eval", "toys/like", *settings, "--draws", "100").stdout


@pytest.mark.slow
@pytest.mark.parametrize("by", KINDS)
def test_what_comes_after_validation_changes_no_calibration(
    run: Run, tmp_path: Path, by: Calibration
) -> None:
    """The as-of rule: labels of the part that is measured turn round, and those of validation."""
    plain = tmp_path / "plain.jsonl"
    build = ["build", "toys/like", "-o", str(plain), "--project", str(tmp_path / "project")]
    assert not CliRunner().invoke(app, build).exit_code
    made: dict[str, list[Any]] = {}
    for part in ("none", "test", "valid"):
        rows = [json.loads(line) for line in plain.read_text().splitlines()]
        for row in rows:
            if row["split"] == part:
                row["outcomes"] = {"like": {"like": "dislike", "dislike": "like"}[was(row)]}
        requests, out = tmp_path / f"{part}.jsonl", tmp_path / f"{part}-fusion.json"
        requests.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        settings = ("--set", f"fusion={{by: {by}}}", "--set", "score=fused")
        done = run("fuse", "toys/like", *settings, "--requests", requests, "-o", out)
        assert not done.exit_code, done.output
        fusion = json.loads(out.read_text())
        made[part] = [fusion[key] for key in ("fused", "without", "knots")]
    assert made["none"] == made["test"] != made["valid"]


def was(row: dict[str, Any]) -> str:
    answer: str = row["outcomes"]["like"]
    return answer


def test_a_file_of_steps_is_checked(tmp_path: Path) -> None:
    path, good = tmp_path / "f.json", fitted(planted(0.5, 0.0, 200), "isotonic")
    write_fusion(path, good)
    assert read_fusion(path) == good
    for wrong in (((0.0, 0.5), (0.0, 0.6)), ((0.0, 0.5), (1.0, 0.4)), ((0.0, 0.0), (1.0, 0.4)), ()):
        write_fusion(path, replace(good, knots=wrong))
        with pytest.raises(ModelError, match="knots: "):
            read_fusion(path)


def test_sampled_negatives_need_weights() -> None:
    def request(weight: float | None, meta: dict[str, Any]) -> Request:
        return Request(
            "r", Subject("m"), (Candidate("c", Item("c", {}), weight=weight),), meta=meta
        )

    sampled = {"negatives": {"sampler": "uniform"}}
    with pytest.raises(InputError, match="request r holds sampled negatives"):
        check_rate(request(None, sampled))
    check_rate(request(20.0, sampled))
    check_rate(request(None, {}))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"fusion": {"by": "platt", "fields": ["item.a"]}}, "calibrates the decoder alone"),
        ({"fusion": {"by": "sigmoid"}}, "fusion.by"),
        ({"fusion": {}}, "name numbers under fusion.fields"),
    ],
)
def test_task_files_that_cannot_be(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        parse_task({**GOOD, **parts}, "task.yaml")


def test_a_grade_is_not_calibrated() -> None:
    grades = {n: {"say": n, "value": v} for n, v in (("good", 2), ("fair", 1), ("bad", 0))}
    graded = {**GOOD, "questions": {"like": {"answers": grades}}, "fusion": {"by": "platt"}}
    with pytest.raises(TaskError, match="needs one question of two answers"):
        parse_task(graded, "task.yaml")


@pytest.fixture
def run(tmp_path: Path, tiny_llama_path: Path) -> Run:
    root = make_project(tmp_path / "project", tiny_llama_path)
    # With one event the fake engine happens to rise with the labels of the validation part.
    task = TASK.format(model=tiny_llama_path).replace("history: {last: 4", "history: {last: 1")
    (root / "tasks/toys/like.yaml").write_text(task)

    def command(*words: str | Path) -> Any:
        given = [*map(str, words), "--project", str(root), "--engine", "fake"]
        result = CliRunner().invoke(app, given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return command


def ranks(path: Path) -> dict[tuple[str, str], tuple[int, float, float]]:
    return {
        (row["request_id"], row["candidate_id"]): (row["rank"], row["probability"], row["score"])
        for row in pq.read_table(path).to_pylist()
    }


@pytest.mark.slow
@pytest.mark.parametrize("by", KINDS)
def test_ranking_keeps_its_ranks_and_says_other_chances(
    run: Run, tmp_path: Path, by: Calibration
) -> None:
    settings = ("--set", f"fusion={{by: {by}}}", "--set", "score=fused")
    fused = run("fuse", "toys/like", *settings)
    assert fused.exit_code == 0
    told = {"temperature": "every rank stays", "platt": "per standard", "isotonic": "levels"}
    assert told[by] in fused.stderr
    for name, words in (("raw", ()), ("calibrated", settings)):
        assert not run("rank", "toys/like", "-o", tmp_path / f"{name}.parquet", *words).exit_code
    raw, calibrated = ranks(tmp_path / "raw.parquet"), ranks(tmp_path / "calibrated.parquet")
    assert {key: rank for key, (rank, *_) in raw.items()} == {
        key: rank for key, (rank, *_) in calibrated.items()
    }
    assert any(raw[key][1] != pytest.approx(calibrated[key][1]) for key in raw)
    for rank, chance, score in calibrated.values():
        assert rank >= 1
        assert chance == pytest.approx(sigmoid(score))
    out = tmp_path / "e.json"
    assert not run("eval", "toys/like", *settings, "-o", out, "--draws", "100").exit_code
    report = json.loads(out.read_text())
    assert [row["name"] for row in report["rankers"][:2]] == ["decoder", "fused"]
    assert "fused, no decoder" not in [row["name"] for row in report["rankers"]]
    other = "isotonic" if by != "isotonic" else "platt"
    words = ("--set", f"fusion={{by: {other}}}", "--set", "score=fused")
    with pytest.raises(ModelError, match=r"fitted with another form \(by\)"):
        run("rank", "toys/like", "-o", tmp_path / "o.parquet", *words)
