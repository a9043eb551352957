"""A task's policy from end to end: ranked, measured, served, validated, and learned from."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import promptrank
from promptrank.api.validate import validate
from promptrank.errors import InputError
from promptrank.scores.origin import METADATA
from promptrank.scores.read import read_scores
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import open_task
from support.serving import app_of, ask, rank_body
from support.toys import make_project

STEPS: list[dict[str, Any]] = [
    {"filter": {"drop": "item.color == 'blue'"}},
    {"boost": {"where": "item.title == 'Toy 3'", "add": 1}},
    {"pin": {"where": "item.title == 'Toy 6'"}},
    {"explore": {"first": 3, "epsilon": 0.5, "salt": "s"}},
]


def with_steps(root: Path, steps: list[dict[str, Any]] | None, name: str = "stepped") -> str:
    text = (root / "tasks/toys/like.yaml").read_text()
    (root / f"tasks/toys/{name}.yaml").write_text(f"{text}steps: {json.dumps(steps)}\n")
    return f"toys/{name}"


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    root = make_project(tmp_path_factory.mktemp("policy") / "toys", tiny_llama_path)
    with_steps(root, STEPS)
    return root


def rows(path: Path) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return made


@pytest.mark.long
def test_a_scores_file_has_every_candidate_and_tells_what_became_of_it(toys: Path) -> None:
    plain, stepped = toys / "plain.parquet", toys / "stepped.parquet"
    promptrank.rank("toys/like", plain, project=toys, engine="fake")
    ranked = promptrank.rank("toys/stepped", stepped, project=toys, engine="fake")
    before = {(r["request_id"], r["candidate_id"]): r for r in rows(plain)}
    after = {(r["request_id"], r["candidate_id"]): r for r in rows(stepped)}
    assert before.keys() == after.keys() and len(before) == 60
    for key, row in after.items():
        blue = int(row["item_id"][1:]) % 3 == 1
        assert (row["rank"] is None) == (row["propensity"] is None) == blue
        assert row["probability"] == before[key]["probability"]
        assert row["method_score"] == before[key]["score"]
        if blue:
            assert row["changes"][-1]["why"] == "taken out: item.color == 'blue'"
        if row["item_id"] == "t6":
            assert (row["rank"], row["propensity"]) == (1, 1.0)
        if row["item_id"] == "t3":
            assert row["score"] == before[key]["score"] + 1
    assert ranked.removed == sum(row["rank"] is None for row in after.values()) > 0
    assert not any(row["partial"] for row in after.values())
    # Where scores come from: other steps are another policy, and the prompts are the same.
    one, other = (
        read_scores(p, open_task("toys/like", project=toys).task, n)
        for p, n in ((plain, "toys/like"), (stepped, "toys/stepped"))
    )
    assert one.origin.policy is None and other.origin.policy is not None
    assert one.origin.prompt == other.origin.prompt
    assert one.origin.task_digest != other.origin.task_digest
    assert METADATA.encode() in pq.read_schema(stepped).metadata
    # As if no step had run.
    measured = open_scores(open_task("toys/stepped", project=toys), stepped, lambda _: None)
    assert dict(zip(measured.keys, measured.numbers("score").tolist(), strict=True)) == {
        key: row["score"] for key, row in before.items()
    }


def test_python_ranks_as_the_file_does(toys: Path) -> None:
    request: dict[str, Any] = {"request_id": "q", "member": {"name": "Ann"}}
    titles = {"Toy 1": "blue", "Toy 2": "red", "Toy 6": "red", "Toy 3": "red"}
    request["candidates"] = [{"item": {"title": t, "color": c}} for t, c in titles.items()]
    with open_ranker("toys/stepped", project=toys, engine="fake") as ranker:
        made = ranker.rank(request)
        (without,) = ranker.rank_many([request], policy=False)
        with pytest.raises(InputError, match="request_id: missing"):
            ranker.rank({**request, "request_id": None})
    assert [s.item_id for s in made.removed] == ["item-1"]
    assert made.scored[0].item_id == "item-3" and len(made.scored) == 3
    assert len(without.scored) == 4 and not any(s.changes for s in without.scored)


def cells(report: Any, name: str) -> dict[str, float]:
    return {metric: cell.value for metric, cell in report.ranker(name).cells.items()}


@pytest.mark.slow
def test_eval_measures_the_ranker_and_beside_it_the_policy(toys: Path) -> None:
    given: dict[str, Any] = {"project": toys, "engine": "fake", "draws": 50}
    plain = promptrank.evaluate("toys/like", **given)
    report = promptrank.evaluate("toys/stepped", **given)
    assert cells(report, "decoder") == cells(plain, "decoder")
    assert [row.name for row in report.rankers][:2] == ["decoder", "decoder, policy"]
    row = report.ranker("decoder, policy")
    assert report.counts == plain.counts  # a relevant toy that is blue counts as not seen
    assert row.cells["log_loss"].value is None
    assert row.cells["ndcg@10"].value != report.ranker("decoder").cells["ndcg@10"].value
    # Steps that do nothing change no number, ties included; exploration is left out.
    idle = with_steps(
        toys, [{"filter": {"drop": "0"}}, {"explore": {"first": 5, "epsilon": 1}}], "idle"
    )
    same = promptrank.evaluate(idle, **given)
    ours = cells(same, "decoder, policy")
    assert ours["ndcg@10"] == cells(same, "decoder")["ndcg@10"]
    assert ours["auc"] == cells(same, "decoder")["auc"]
    # From a scores file that a policy was part of: the same numbers, and both rows.
    promptrank.rank("toys/stepped", toys / "file.parquet", project=toys, engine="fake")
    kept = promptrank.evaluate("toys/stepped", scores=toys / "file.parquet", project=toys, draws=50)
    for name in ("decoder", "decoder, policy"):
        assert cells(kept, name) == cells(report, name)
    off = promptrank.evaluate("toys/stepped", settings=["steps=null"], **given)
    assert "decoder, policy" not in [row.name for row in off.rankers]


def test_the_server_ranks_by_the_policy(toys: Path) -> None:
    body = rank_body("q", ["Toy 2", "Toy 6", "Toy 3", "Toy 4"])
    body["request"]["candidates"][0]["item"]["color"] = "blue"
    with open_ranker("toys/stepped", project=toys, engine="fake") as ranker:
        app = app_of(ranker)
        served, ranking = ask(app, "/v1/rank", body).json(), ranker.rank(body["request"])
        assert [s["item_id"] for s in served["scored"]] == [s.item_id for s in ranking.scored]
        top, *drawn = [s["propensity"] for s in served["scored"]]
        assert top == 1 and drawn in ([0.75, 0.75], [0.25, 0.25])
        (gone,) = served["removed"]
        assert (gone["item_id"], gone["step"]) == ("Toy 2", "filter")
        assert served["provenance"]["policy"] == ranker.origin.policy
        # A request without an id is drawn by the call's: the same id, the same order.
        del body["request"]["request_id"]
        named = [ask(app, "/v1/rank", body, X_Request_Id="call-7").json() for _ in range(2)]
        assert named[0]["request_id"] == "call-7" and named[0]["scored"] == named[1]["scored"]
        # Pairs are no list: nothing is filtered, pinned or drawn.
        pair = {"member": {"name": "Ann"}, "item": {"title": "Toy 2", "color": "blue"}}
        scores = ask(app, "/v1/score", {"pairs": [pair, pair]}).json()["scores"]
        assert scores[0] == scores[1] and scores[0]["score"] > 0
        every = {
            "member": {"name": "Ann"},
            "candidates": [{"item": {"title": "Toy 2", "color": "blue"}}],
        }
        empty = ask(app, "/v1/rank", {"request": every})
        assert empty.status_code == 200 and empty.json()["scored"] == []


@pytest.mark.long
def test_validate_tells_what_steps_never_do(toys: Path) -> None:
    steps: list[dict[str, Any]] = [
        {"filter": {"keep": "item.colour == 'red'"}},
        {"filter": {"keep": "item.title"}},
        {"boost": {"where": "item.color == 'green'", "add": 1}},
        {"cap": {"by": "item.title // 2", "most": 2}},
        {"pin": {"where": "member.name > ''"}},
    ]
    made = validate(with_steps(toys, steps[:1], "unknown"), project=toys)
    assert made.problems == [
        "steps.0.filter.keep: nothing supplies item.colour; did you mean 'color'?"
    ]
    told = "\n".join(validate(with_steps(toys, steps[1:], "never"), project=toys).warnings)
    assert "steps.0.filter.keep: item.title is 'Toy" in told and "neither true nor false" in told
    assert "steps.1.boost.where: item.color == 'green' holds for none of " in told
    assert "steps.2.cap.by: item.title // 2 has no value for any of " in told
    assert "steps.3.pin.where: member.name > '' holds for all of " in told
    broken = validate(with_steps(toys, [{"pin": {"where": "item.x =="}}], "broken"), project=toys)
    assert len(broken.problems) == 1 and "steps.0.pin.where: item.x ==" in broken.problems[0]
