"""Baselines by name: as engines of ``rank`` and ``eval``, as rivals, and names that are none."""

import json
from pathlib import Path
from typing import Any

import pytest

import promptrank
from promptrank.baselines.listing import ALWAYS, BASELINES
from promptrank.errors import InputError, ModelError
from promptrank.evaluation.report import Report
from promptrank.requests.write import write_table
from promptrank.scores.read import read_scores
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task

TASK = "toys/like"


@pytest.fixture
def requests(toys: Path) -> Path:
    """Built once for a test that wants them often."""
    return promptrank.build(TASK, toys / "requests.parquet", project=toys).path


def evaluated(toys: Path, **given: Any) -> Report:
    whole: dict[str, Any] = {"engine": "fake", "draws": 0, **given}
    if (toys / "requests.parquet").is_file():
        whole["requests"] = toys / "requests.parquet"
    return promptrank.evaluate(TASK, project=toys, **whole)


def cells(report: Report, name: str) -> dict[str, float | None]:
    return {metric: cell.value for metric, cell in report.ranker(name).cells.items()}


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever goes so far as to read requests is too late with a refusal."""

    def read(*given: Any, **more: Any) -> None:
        raise AssertionError("requests were read")

    monkeypatch.setattr("promptrank.workspace.measuring.request_file", read)
    monkeypatch.setattr("promptrank.api.rank.request_file", read)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vs": ["baseline:embeding"]}, "no baseline 'embeding'; did you mean 'embedding'"),
        ({"vs": ["baseline:al"]}, "did you mean 'all'"),
        ({"vs": ["baseline"]}, "baseline:NAME"),
        ({"engine": "baseline:bm52"}, "no baseline 'bm52'; did you mean 'bm25'"),
        ({"engine": "baseline:all"}, "no baseline 'all'"),
        ({"engine": "baseline:bm25", "adapter": "mine"}, "baseline:bm25 has no decoder"),
        ({"vs": ["rrf:decoder+bm52"]}, "no ranker 'bm52' is compared; did you mean 'bm25'"),
        ({"vs": ["rrf:decoder+adapter:no"]}, "no ranker 'adapter:no' is compared"),
        ({"vs": ["rrf:decoder+neighbors"]}, "add --vs baseline:neighbors"),
        ({"engine": "baseline:bm25", "vs": ["rrf:decoder+logistic"]}, "no ranker 'decoder'"),
    ],
)
def test_names_that_are_none_are_refused_before_anything_is_read(
    toys: Path, unread: None, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("+", r"\+")):
        evaluated(toys, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engine": "baseline:popularty"}, "did you mean 'popularity'"),
        ({"engine": "baseline:bm25", "model": "m"}, "leave --model and --adapter out"),
        ({"engine": "baseline:bm25", "cache": True}, "the score cache is for decoders"),
    ],
)
def test_rank_refuses_them_too(
    toys: Path, tmp_path: Path, unread: None, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        promptrank.rank(TASK, tmp_path / "s.parquet", project=toys, **given)


def test_what_opens_rankers_without_requests_says_who_takes_baselines(toys: Path) -> None:
    with pytest.raises(InputError, match="`rank` and `eval` take it"):
        promptrank.open_ranker(TASK, engine="baseline:bm25", project=toys)
    with pytest.raises(InputError, match="baseline:NAME"):
        promptrank.open_ranker(TASK, engine="bm25", project=toys)


@pytest.mark.long
def test_a_baseline_ranks_into_a_file_like_any_other(
    toys: Path, requests: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"
    ranked = promptrank.rank(
        TASK, out, engine="baseline:bm25", requests=requests, splits={"test"}, project=toys
    )
    assert (ranked.requests, ranked.candidates, ranked.errors) == (12, 60, 0)
    assert ranked.label_mass == {}
    scores = read_scores(out, open_task(TASK, project=toys).task, TASK)
    assert scores.origin.ranker == "bm25"
    assert scores.origin.method == "direct"
    assert scores.origin.task == TASK
    assert "bm25s" in scores.origin.versions
    assert not scores.has("like_label_mass")
    rows = scores.table.to_pylist()
    for name in {row["request_id"] for row in rows}:
        mine = [row for row in rows if row["request_id"] == name]
        assert [row["rank"] for row in mine] == [1, 2, 3, 4, 5]
        assert [row["score"] for row in mine] == sorted((r["score"] for r in mine), reverse=True)
    # The same figures whether it is ranked by `rank`, as the reference, or beside a decoder.
    by_file = evaluated(toys, scores=out)
    by_engine = evaluated(toys, engine="baseline:bm25")
    beside = evaluated(toys)
    assert by_file.reference == by_engine.reference == "bm25"
    assert [row.name for row in by_file.rankers].count("bm25") == 1
    assert cells(by_file, "bm25") == cells(by_engine, "bm25") == cells(beside, "bm25")


@pytest.mark.long
def test_rivals_by_name_and_those_that_are_always_there(toys: Path, requests: Path) -> None:
    usual = {row.name for row in evaluated(toys).rankers} - {"decoder"}
    assert usual == set(ALWAYS) - {"logged"}  # this log holds no scores
    report = evaluated(toys, vs=["baseline:all", "rrf:decoder+neighbors"])
    names = [row.name for row in report.rankers]
    fitted = [name for name in BASELINES if name not in ("logged", "embedding")]
    assert names == ["decoder", "rrf:decoder+neighbors", *fitted]
    # `all` never fetches a model, and says how it is had.
    assert "promptrank pull all-minilm-l6-v2" in report.absent["embedding"]
    with pytest.raises(ModelError, match="is not in the cache"):
        evaluated(toys, vs=["baseline:embedding"])  # which does, and fast tests are offline


@pytest.mark.long
def test_a_fusion_of_ranks_with_what_cannot_be_made_is_refused_with_the_reason(
    toys: Path, requests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.api.evaluate.open_ranker", lambda *a, **k: pytest.fail("late"))
    with pytest.raises(InputError, match="there is no logged here: no candidate has a logged"):
        evaluated(toys, vs=["rrf:decoder+logged"])
    with pytest.raises(InputError, match="there is no embedding here: its model is not here"):
        evaluated(toys, vs=["baseline:all", "rrf:decoder+embedding"])


@pytest.mark.long
def test_candidates_that_nothing_is_known_of_are_set_aside(toys: Path, tmp_path: Path) -> None:
    numbers = {"item_mean": 0.5, "mean": 0.25}
    rows: list[dict[str, Any]] = [
        {"request_id": "r", "item_id": "t1", "member": {"name": "Ann"}, "baseline": numbers},
        {"request_id": "r", "item_id": "t2"},
    ]
    requests, out = tmp_path / "r.jsonl", tmp_path / "s.jsonl"
    write_table(requests, rows)
    ranked = promptrank.rank(
        TASK, out, engine="baseline:item_member_mean", requests=requests, project=toys
    )
    assert (ranked.candidates, ranked.errors, ranked.partial) == (1, 1, 1)
    assert json.loads(out.read_text())["score"] == pytest.approx(0.5)
    row = json.loads(ranked.errors_path.read_text())
    assert (row["candidate_id"], row["reason"]) == ("t2", "no_score")
    with pytest.raises(InputError, match=r"logistic cannot be made for toys/like: .* no labelled"):
        promptrank.rank(TASK, out, engine="baseline:logistic", requests=requests, project=toys)


def test_a_fused_task_is_for_decoders(toys: Path) -> None:
    path = toys / "tasks/toys/like.yaml"
    path.write_text(path.read_text() + "fusion: {fields: [item.title]}\nscore: fused\n")
    with pytest.raises(InputError, match="a baseline ranks an unfused task"):
        evaluated(toys, engine="baseline:bm25")


@pytest.mark.long
def test_scores_of_a_baseline_are_made_again_when_what_it_learned_from_is_corrected(
    toys: Path, requests: Path
) -> None:
    plain = open_task(TASK, project=toys)
    turned = [
        f"{r.request_id},{c.candidate_id},{'dislike' if c.outcomes['like'] == 'like' else 'like'}"
        for r in given_file(plain, requests).read({"train"})
        for c in r.candidates
    ]
    kept = []
    for rows in ([], [], turned):
        (toys / "fixed.csv").write_text("\n".join(["request_id,candidate_id,answer", *rows]))
        said: list[str] = []
        promptrank.evaluate(
            open_task(TASK, project=toys, settings=["corrections=fixed.csv"]),
            requests=requests,
            engine="baseline:logistic",
            probes=["sections"],
            out=toys / "report.json",
            limit=3,
            draws=0,
            say=said.append,
        )
        kept.append(any("has these scores already" in line for line in said))
    assert kept == [False, True, False]
