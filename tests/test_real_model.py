"""The shipped tasks with the real model and the real data, as the README runs them."""

import json
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.basics.telling import silent
from promptrank.cli.main import app
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import open_task

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def files(smollm2_path: Path, ml100k_path: Path) -> None:
    """Both are in the cache before a test starts."""


@pytest.mark.parametrize("task", ["movies/like", "movies/rating", "movies/similar"])
def test_a_shipped_task_is_valid_and_ranks(task: str, tmp_path: Path) -> None:
    found = promptrank.validate(task)
    assert not found.problems
    assert not found.warnings
    report = promptrank.evaluate(task, limit=4, draws=100, out=tmp_path / "report.json")
    names = {ranker.name for ranker in report.rankers}
    assert {"decoder", "popularity", "item_member_mean", "logistic", "random"} <= names
    assert report.counts.left_out == 0
    facts = json.loads((tmp_path / "report.json").read_text())
    assert not facts["errors"]
    assert all(mass > 0.1 for mass in facts["provenance"]["label_mass"].values())


def test_packed_ranks_as_one_prompt_at_a_time() -> None:
    opened = open_task("movies/like")
    with (
        request_file(opened, None, splits={"test"}, say=silent) as file,
        promptrank.open_ranker(opened) as packed,
        promptrank.open_ranker(opened, engine="plain") as plain,
    ):
        assert packed.info.notes == ()
        assert (packed.info.name, plain.info.name) == ("packed", "plain")
        requests = list(islice(file.read(), 2))
        both = zip(packed.rank_many(requests), plain.rank_many(requests), strict=True)
        for ranking, reference in both:
            logprobs = {s.candidate_id: s.questions["like"].logprobs for s in ranking.scored}
            for scored in reference.scored:
                expected = scored.questions["like"].logprobs
                assert logprobs[scored.candidate_id] == pytest.approx(expected, abs=1e-4)


def test_the_chat_wrapper_works_with_turns(tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    ranked = promptrank.rank("movies/like", out, limit=2, settings=["chat=true"])
    assert (ranked.errors, ranked.candidates) == (0, 20)
    config = json.loads((tmp_path / "scores.config.json").read_text())
    assert config["config"]["chat"] is True


def test_the_adapter_that_comes_along_fits_base_template_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["rank", "movies/like", "--adapter", "movies", "--limit", "2", "-o", "scores.parquet"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
