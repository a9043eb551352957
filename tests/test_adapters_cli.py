"""Adapters through the commands: changed templates, other bases, merged weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from promptrank.adapters.card import Base, read_card, task_card, write_card
from promptrank.adapters.shelf import adapter_digest
from promptrank.adapters.weights import weights_digest
from promptrank.cli.main import app
from promptrank.errors import InputError, ModelError
from promptrank.prompt.template import load_template
from promptrank.workspace.tasks import open_task
from support.adapters import a_card, a_folder
from support.engines import adapter
from support.toys import make_project

Run = Callable[..., Any]


@pytest.fixture
def project(tmp_path: Path, tiny_llama_path: Path) -> Path:
    """The toy project with the adapter ``toys``, trained (so its card says) on toys/like."""
    from transformers import AutoModelForCausalLM

    root = make_project(tmp_path / "project", tiny_llama_path)
    folder = root / "adapters" / "toys"
    adapter(AutoModelForCausalLM.from_pretrained(tiny_llama_path), folder, 1)
    opened = open_task("toys/like", project=root)
    template = load_template(opened.task.template, opened.place.template_folders)
    about = task_card(
        opened.task,
        template.sources,
        data="d" * 64,
        requests={"train": 24, "valid": 12},
        before={"auc": 0.5},
        after={"auc": 0.75},
    )
    base = Base(str(tiny_llama_path), weights_digest(tiny_llama_path))
    write_card(folder, a_card(base, **{"toys/like": about}))
    return root


@pytest.fixture
def run(project: Path) -> Run:
    """Runs a command in the project; raises the input error it ends with."""

    def command(*words: str | Path) -> Any:
        result = CliRunner().invoke(app, [*map(str, words), "--project", str(project)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return command


def scores(path: Path) -> dict[tuple[str, str], float]:
    rows = pq.read_table(path).to_pylist()
    return {(row["request_id"], row["candidate_id"]): row["like_logprob_like"] for row in rows}


def edit_template(project: Path) -> None:
    path = project / "templates/toys/like.j2"
    path.write_text(path.read_text().replace("You rank toys for a member.", "Rank the toys."))


def test_ls_show_alias_and_rollback(run: Run, project: Path) -> None:
    a_folder(project / "adapters" / "other")
    run("adapters", "alias", "toys@prod", "other")
    run("adapters", "alias", "toys@prod", "toys")
    lines = [line.split() for line in run("adapters", "ls").stdout.splitlines()]
    assert ["toys@prod", "alias", "->", "toys"] in lines
    assert {line[0] for line in lines} >= {"other", "toys"}
    shown = run("adapters", "show", "toys@prod").stdout
    assert "toys@prod -> toys  project" in shown
    assert "auc: 0.5000 before, 0.7500 after" in shown
    assert "split: by last," in shown
    assert "24 train requests, 12 valid requests" in shown
    run("adapters", "rollback", "toys@prod")
    assert "no card.json" in run("adapters", "show", "toys@prod").stdout


@pytest.mark.long
def test_an_unchanged_task_ranks_and_says_nothing(run: Run, project: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    said = run("rank", "toys/like", "-o", out, "--adapter", "toys", "--limit", "2").stderr
    assert "trained" not in said
    config = (tmp_path / "s.config.json").read_text()
    digest = adapter_digest(project / "adapters" / "toys")
    assert digest is not None
    assert digest in config


@pytest.mark.long
def test_a_changed_template_is_refused_by_rank_and_shown_by_render_and_eval(
    run: Run, project: Path, tmp_path: Path
) -> None:
    run("adapters", "alias", "toys@prod", "toys")
    edit_template(project)
    out = tmp_path / "s.parquet"
    words = ("rank", "toys/like", "-o", out, "--limit", "2", "--adapter", "toys@prod")
    with pytest.raises(InputError, match="--allow-changed") as refused:
        run(*words)
    difference = "\n+{% block instruction %}Rank the toys.{% endblock %}"
    assert difference in str(refused.value)
    assert not out.exists()
    for allowed in (
        (*words, "--allow-changed"),
        ("render", "toys/like", "--adapter", "toys"),
        ("eval", "toys/like", "--adapter", "toys", "--engine", "fake", "--draws", "100"),
    ):
        said = run(*allowed).stderr
        assert "warning: toys was trained on toys/like with other template:" in said
        assert difference in said


def test_changed_answers_are_refused(run: Run, tmp_path: Path) -> None:
    words = ("rank", "toys/like", "-o", tmp_path / "s.parquet", "--adapter", "toys")
    with pytest.raises(InputError, match="other answers") as refused:
        run(*words, "--set", "questions.like.answers.like.say=Sure")
    assert '+like.answers.like.say: ["Sure"]' in str(refused.value)


@pytest.mark.long
def test_another_task_is_told_and_not_refused(run: Run, project: Path, tmp_path: Path) -> None:
    (project / "tasks/toys/want.yaml").write_text((project / "tasks/toys/like.yaml").read_text())
    words = ("rank", "toys/want", "-o", tmp_path / "s.parquet", "--limit", "2")
    said = run(*words, "--adapter", "toys", "--engine", "fake").stderr
    assert "toys was trained on toys/like, not on toys/want" in said
    measured = ("eval", "toys/want", "--adapter", "toys", "--engine", "fake", "--draws", "100")
    told = " ".join(run(*measured).stdout.split())
    assert "toys never trained on toys/want (T2, an unseen task), but on toys/like" in told


@pytest.mark.long
def test_another_base_is_refused_before_anything_is_loaded(
    run: Run, tmp_path: Path, tiny_sentencepiece_path: Path
) -> None:
    words = ("rank", "toys/like", "-o", tmp_path / "s.parquet", "--adapter", "toys")
    with pytest.raises(ModelError, match="adapter toys was trained on"):
        run(*words, "--model", tiny_sentencepiece_path, "--engine", "fake")


def test_the_python_api_checks_an_adapter_of_a_single_request(project: Path) -> None:
    import promptrank

    edit_template(project)
    request = {"member": {"name": "Ann"}, "candidates": [{"item": {"title": "Top", "color": None}}]}
    with (
        promptrank.open_ranker("toys/like", project=project, engine="fake") as ranker,
        pytest.raises(InputError, match="with other template"),
    ):
        next(ranker.rank_many([request], adapter_of=lambda r: "toys"))


@pytest.mark.long
def test_merged_weights_score_as_base_with_adapter(run: Run, project: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    said = run("adapters", "merge", "toys", "--out", merged).stderr
    assert "log-probs agree within" in said
    assert read_card(merged) is not None
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    words = ("rank", "toys/like", "--limit", "4", "-o")
    run(*words, tmp_path / "base.parquet")
    run(*words, tmp_path / "adapter.parquet", "--adapter", "toys")
    run(*words, tmp_path / "merged.parquet", "--model", merged)
    expected = scores(tmp_path / "adapter.parquet")
    assert scores(tmp_path / "merged.parquet") == pytest.approx(expected, abs=1e-4)
    assert scores(tmp_path / "base.parquet") != pytest.approx(expected, abs=1e-2)
    with pytest.raises(InputError, match="exists already"):
        run("adapters", "merge", "toys", "--out", merged)


def test_merging_needs_a_base_that_fits(
    run: Run, project: Path, tmp_path: Path, tiny_sentencepiece_path: Path
) -> None:
    out = tmp_path / "merged"
    with pytest.raises(ModelError, match="was trained on"):
        run("adapters", "merge", "toys", "--out", out, "--model", tiny_sentencepiece_path)
    a_folder(project / "adapters" / "bare")
    with pytest.raises(ModelError, match="give --model"):
        run("adapters", "merge", "bare", "--out", out)
    assert not out.exists()
