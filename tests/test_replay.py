"""Replay: a log ranked again is what was served, or says what is not, by how much and why."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from promptrank.api.replay import replay
from promptrank.cli.main import app as command
from promptrank.errors import InputError
from promptrank.ranking.ranking import Ranking
from promptrank.requests.read import read_requests
from promptrank.runs.log_files import log_files
from promptrank.runs.replaying import Differences
from promptrank.serve.serving_log import ServingLog
from promptrank.workspace.rankers import open_ranker
from support.logs import served, toy_request
from support.policies import after, ranking_of
from support.serving import app_of, ask


@pytest.fixture
def log(toys: Path, tmp_path: Path) -> Path:
    """Eight requests, the last four of them served by another adapter."""
    folder = tmp_path / "log"
    served(toys, folder, "old", [f"r{n}" for n in range(4)])
    served(toys, folder, "newer", [f"r{n}" for n in range(4, 8)])
    return folder


@pytest.mark.long
def test_the_same_task_and_adapters_differ_by_nothing(toys: Path, log: Path) -> None:
    (done,) = replay(log, project=toys)
    found = done.differences
    assert (found.requests, found.candidates) == (8, 24)
    assert found.same and found.largest == 0 and done.changes == () and done.unread == 0
    ran = CliRunner().invoke(command, ["replay", str(log), "toys/like", "--project", str(toys)])
    assert ran.exit_code == 0 and "as served" in ran.stdout and "nothing changed" in ran.stdout


@pytest.mark.long
def test_another_adapter_is_told_with_what_it_moves(toys: Path, log: Path, tmp_path: Path) -> None:
    """Half of the requests were served by it, and differ by nothing."""
    out = tmp_path / "replayed.json"
    arguments = ["replay", str(log), "--adapter", "old", "--project", str(toys), "--out", str(out)]
    ran = CliRunner().invoke(command, arguments)
    assert ran.exit_code == 3, ran.output
    assert "NOT as served" in ran.stdout and "changed since: adapter: newer" in ran.stdout
    (said,) = json.loads(out.read_text())["replayed"]
    old, newer = (
        open_ranker("toys/like", project=toys, engine="fake", adapter=name)
        for name in ("old", "newer")
    )
    apart, tops = [], 0
    for n in range(4, 8):
        request = toy_request(f"r{n}", f"person r{n}")["request"]
        before, now = newer.rank(request).scored, old.rank(request).scored
        scores = {s.candidate_id: s.score for s in now}
        apart += [abs(s.score - scores[s.candidate_id]) for s in before]
        tops += before[0].candidate_id != now[0].candidate_id
    assert said["max_difference"] == max(apart)
    assert said["mean_difference"] == pytest.approx(sum(apart) / 24)
    assert said["changed_top"] == tops and set(said["examples"]) == {"r4", "r5", "r6", "r7"}


@pytest.mark.long
def test_a_changed_template_is_told(toys: Path, log: Path) -> None:
    template = toys / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("You rank toys", "You order toys"))
    (done,) = replay(log, project=toys, limit=3)
    assert done.differences.requests == 3 and not done.differences.same
    assert any(change.startswith("prompts: the template") for change in done.changes)


@pytest.mark.long
def test_a_candidate_that_fails_now_is_told(toys: Path, log: Path) -> None:
    template = toys / "templates/toys/like.j2"
    text = template.read_text()
    template.write_text(text.replace("{{ item.title }}, ", "").replace("Toy:", "{{ item.price }}"))
    with pytest.raises(InputError):
        replay(log, "toys/none", project=toys)
    (done,) = replay(log, project=toys)
    assert (done.differences.gone, done.differences.candidates) == (24, 0)
    assert not done.differences.same


def test_a_damaged_file_is_named(toys: Path, log: Path) -> None:
    first = log_files(log, "toys/like").requests[0]
    first.write_bytes(first.read_bytes()[:-40])
    with pytest.raises(InputError, match=first.name):
        replay(log, project=toys)
    with pytest.raises(InputError, match="no such log"):
        replay(log / "none", project=toys)


def test_differences_by_hand() -> None:
    def ranking(name: str, *scores: tuple[str, float]) -> Ranking:
        from promptrank.prompt.budget import Cuts
        from promptrank.ranking.ranking import Scored
        from promptrank.requests.dicts import request_from_dict

        request = request_from_dict({"candidates": [{"item": {}}]})
        scored = tuple(
            Scored(who, who, score, rank, None, score, {})
            for rank, (who, score) in enumerate(scores, 1)
        )
        return Ranking(name, "s", scored, False, (), Cuts(), replace(request, request_id=name))

    found = Differences(0.01)
    # a and b are a tie within the tolerance; c moves before both of them.
    found.add({"a": (1, 0.500), "b": (2, 0.499)}, ranking("tie", ("b", 0.500), ("a", 0.499)))
    assert found.as_dict()["same"] and found.largest == pytest.approx(0.001) and found.order == 0
    found.add(
        {"a": (1, 0.5), "b": (2, 0.4), "c": (3, 0.1)},
        ranking("moved", ("c", 0.9), ("a", 0.5), ("d", 0.2)),
    )
    assert (found.top, found.order, found.gone, found.new) == (1, 1, 1, 1)
    assert (found.requests, found.candidates) == (2, 4)
    assert found.largest == pytest.approx(0.8)
    assert found.mean == pytest.approx((0.001 + 0.001 + 0 + 0.8) / 4)
    assert found.examples == ["moved"] and not found.same
    # A step took b out then; now it takes a out as well.
    kept = ranking("steps", ("c", 0.3))
    out = ranking("steps", ("a", 0.5), ("b", 0.4)).scored
    fewer = Differences(0.01)
    fewer.add({"a": (1, 0.5), "c": (2, 0.3), "b": (None, 0.4)}, replace(kept, removed=out))
    assert (fewer.top, fewer.order, fewer.gone, fewer.largest) == (1, 1, 0, 0.0)
    whole = ranking("steps", ("a", 0.5), ("c", 0.3))
    same = Differences(0.01)
    same.add({"a": (1, 0.5), "c": (2, 0.3), "b": (None, 0.4)}, replace(whole, removed=(out[1],)))
    assert same.same and same.candidates == 3


@pytest.mark.long
def test_what_was_drawn_is_drawn_again_and_pairs_are_scored_without_a_policy(
    toys: Path, tmp_path: Path
) -> None:
    """An exploring task: the same places and propensities, by the ids that are in the log."""
    task = toys / "tasks/toys/like.yaml"
    steps = [
        "- filter: {keep: \"item.color == 'red'\"}",
        "- explore: {first: 3, temperature: 5.0}",
    ]
    task.write_text(task.read_text() + "\n".join(["steps:", *steps, ""]))
    ranker = open_ranker("toys/like", project=toys, engine="fake")
    log = ServingLog(tmp_path / "log")
    app = app_of(ranker, serving_log=log)
    body = toy_request("mine", toys=["Ball", "Car", "Doll", "Kite", "Top"])
    del body["request"]["request_id"]
    body["request"]["candidates"][4]["item"]["color"] = "blue"
    answers = [ask(app, "/v1/rank", body, x_request_id=f"call-{n}") for n in range(12)]
    pair = {"member": {"name": "Ann"}, "item": {"title": "Ball", "color": "blue"}}
    answers.append(ask(app, "/v1/score", {"pairs": [pair, pair]}))
    assert {answer.status_code for answer in answers} == {200}
    log.close()
    orders = {tuple(s["candidate_id"] for s in a.json()["scored"]) for a in answers[:12]}
    assert len(orders) > 1  # it does explore
    (done,) = replay(tmp_path / "log", project=toys)
    assert done.differences.same and done.differences.requests == 14, done
    # A draw of its own for each request: by other ids the same lists would be others.
    task.write_text(task.read_text().replace("temperature: 5.0", "temperature: 5.0, salt: other"))
    (other,) = replay(tmp_path / "log", project=toys)
    assert other.differences.order > 0 and other.differences.largest == 0
    files = log_files(tmp_path / "log", "toys/like")
    read = [r for p in files.requests for r in read_requests(p, errors=lambda row: None)]
    logged = {request.request_id: request for request in read}
    for answer in (each.json() for each in answers[:12]):
        places = {s["candidate_id"]: (s["rank"], s["propensity"]) for s in answer["scored"]}
        places["Top"] = (None, None)  # a step took it out
        request = logged[answer["id"]]
        assert {c.candidate_id: (c.position, c.propensity) for c in request.candidates} == places


def test_what_a_policy_takes_out_is_compared_as_well() -> None:
    served = {"c0": (None, 0.0), "c1": (1, -1.0), "c2": (2, -2.0)}
    steps = [{"filter": {"drop": "context.at == 0"}}]
    same = Differences(0.01)
    same.add(served, after(ranking_of([{}] * 3), *steps))
    assert same.same and same.candidates == 3
    # Shown now, and first: an order that was not served.
    other = Differences(0.01)
    other.add(served, ranking_of([{}] * 3))
    assert (other.top, other.order, other.gone, other.new) == (1, 1, 0, 0)
