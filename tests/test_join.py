"""A log and what came of it: one request file that is evaluated and trained on, as any other."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptrank.api.evaluate import evaluate
from promptrank.api.join import join
from promptrank.cli.main import app as command
from promptrank.errors import InputError
from promptrank.ranking.columns import columns_of
from promptrank.records import Candidate, Item, Request
from promptrank.requests.as_rows import request_rows
from promptrank.requests.read import read_requests
from promptrank.runs.log_files import (
    SERVED_AT,
    StagedRequests,
    log_files,
    write_logged_scores,
)
from promptrank.scores.columns import schema_of
from promptrank.serve.serving_log import ServingLog
from promptrank.tables.log_outcomes import LogOutcomes
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.tasks import open_task
from support.adapters import a_folder
from support.logs import served, toy_request
from support.serving import app_of, ask

NAMES = [f"r{n}" for n in range(24)]
TOYS = ("Ball", "Car", "Doll")


def outcomes_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def log(toys: Path, tmp_path: Path) -> Path:
    """Twenty-four requests; every second of them liked the Ball, the others the Car."""
    folder = tmp_path / "log"
    served(toys, folder, "old", NAMES[:12])
    served(toys, folder, "newer", NAMES[12:])
    return folder


@pytest.fixture
def liked(tmp_path: Path) -> Path:
    rows = [
        {"request_id": n, "candidate_id": TOYS[i % 2], "label": "like"} for i, n in enumerate(NAMES)
    ]
    rows += [{"request_id": "elsewhere", "candidate_id": "Ball", "label": "like"}]
    rows += [{"request_id": "r0", "candidate_id": "Doll", "label": "bought"}]
    return outcomes_file(tmp_path / "liked.csv", rows)


@pytest.mark.slow
def test_what_was_served_is_joined_evaluated_and_measured_beside_a_shadow(
    toys: Path, log: Path, liked: Path, tmp_path: Path
) -> None:
    out = tmp_path / "joined.parquet"
    arguments = ["join", str(log), "toys/like", "--out", str(out), "--outcomes", str(liked)]
    arguments += ["--none", "dislike", "--project", str(toys)]
    ran = CliRunner().invoke(command, arguments)
    assert ran.exit_code == 0, ran.output
    assert "25 of 26 outcomes are of the log" in ran.stderr
    assert "1 outcome with the label 'bought', which no answer has" in ran.stderr
    assert "72 candidates of 24 requests, 71 with a label" in ran.stderr
    errors: list[Any] = []
    requests = {r.request_id: r for r in read_requests(out, errors=errors.append)}
    assert errors == [] and set(requests) == set(NAMES)
    for i, name in enumerate(NAMES):
        answers = {c.candidate_id: c.outcomes.get("like") for c in requests[name].candidates}
        wanted = {toy: "dislike" for toy in TOYS} | {TOYS[i % 2]: "like"}
        assert answers == wanted | ({"Doll": None} if name == "r0" else {})
    # The same figures as by the labels and scores at hand.
    scores = out.with_name("joined.served.scores.parquet")
    report = evaluate(
        "toys/like",
        requests=out,
        scores=scores,
        project=toys,
        settings=["split=null"],
        vs=["logged"],
        draws=100,
    )
    assert report.counts.requests == 24
    ranks = []
    for i, name in enumerate(NAMES):
        adapter = "old" if i < 12 else "newer"
        ranker = open_ranker("toys/like", project=toys, engine="fake", adapter=adapter)
        ranking = ranker.rank(toy_request(name, f"person {name}")["request"])
        # Metrics are of what has a label, which one Doll has not.
        order = [s.candidate_id for s in ranking.scored if (name, s.candidate_id) != ("r0", "Doll")]
        ranks.append(order.index(TOYS[i % 2]) + 1)
    mrr = sum(1 / rank for rank in ranks) / len(ranks)
    for row in report.rankers:
        if row.name in (report.reference, "logged"):
            assert row.cells["mrr"].value == pytest.approx(mrr), row.name


@pytest.mark.slow
def test_what_an_exploring_server_logs_is_what_off_policy_estimates_need(
    toys: Path, tmp_path: Path
) -> None:
    """Three places of four are drawn; all four have a place and its probability."""
    task = toys / "tasks/toys/like.yaml"
    text = task.read_text() + "steps: [{explore: {first: 3, temperature: 5.0}}]\n"
    task.write_text(text.replace("split: {by: last, test: 1, valid: 1}\n", ""))
    ranker = open_ranker("toys/like", project=toys, engine="fake")
    log = ServingLog(tmp_path / "log")
    app = app_of(ranker, serving_log=log)
    toys_asked = ("Ball", "Car", "Doll", "Kite")
    liked, earned = [], 0.0
    for n in range(30):
        body = toy_request(f"r{n}", f"person {n}", toys_asked)
        scored = ask(app, "/v1/rank", body).json()["scored"]
        if n % 3:
            top = scored[0]["candidate_id"]
            liked.append({"request_id": f"r{n}", "candidate_id": top, "label": "like"})
            earned += 1
    log.close()
    outcomes = outcomes_file(tmp_path / "liked.csv", liked)
    given: dict[str, Any] = {"outcomes": outcomes, "none": "dislike", "project": toys}
    done = join(tmp_path / "log", "toys/like", tmp_path / "joined.jsonl", **given)
    report = evaluate(
        "toys/like", requests=done.path, scores=done.scores["served"], project=toys, draws=100
    )
    estimated = report.off_policy
    assert estimated is not None and estimated.requests == 30
    assert estimated.logged.value == pytest.approx(earned / 30)


@pytest.mark.slow
def test_a_shadow_is_compared_on_what_it_scored(
    toys: Path, log: Path, liked: Path, tmp_path: Path
) -> None:
    """A quarter of the requests, far below what `eval` takes of a whole log."""
    a_folder(toys / "adapters/shadow", seed=9)
    shadow = open_ranker("toys/like", project=toys, engine="fake", adapter="shadow")
    chosen = NAMES[3::4]
    rankings = [shadow.rank(toy_request(n, f"person {n}")["request"]) for n in chosen]
    rows = columns_of(rankings, schema_of(shadow.task))
    write_logged_scores(log, "toys/like", "shadow", [rows], shadow.origin)
    done = join(
        log,
        "toys/like",
        tmp_path / "both.jsonl",
        outcomes=liked,
        none="dislike",
        shadow="shadow",
        project=toys,
    )
    assert (done.requests, done.labelled) == (6, 18) and set(done.scores) == {"served", "shadow"}
    report = evaluate(
        "toys/like",
        requests=done.path,
        scores=done.scores["served"],
        vs=[f"scores:{done.scores['shadow']}"],
        project=toys,
        settings=["split=null"],
        draws=100,
    )
    (row,) = [row for row in report.rankers if row.name == f"scores:{done.scores['shadow']}"]
    wanted = {name: TOYS[NAMES.index(name) % 2] for name in chosen}
    ranks = [
        next(s.rank for s in ranking.scored if s.candidate_id == wanted[ranking.request_id])
        for ranking in rankings
    ]
    assert row.cells["mrr"].value == pytest.approx(sum(1 / rank for rank in ranks) / 6)
    with pytest.raises(InputError, match="there are: served, shadow"):
        join(log, "toys/like", tmp_path / "none.jsonl", shadow="new", project=toys)


def test_parts_are_cut_by_time_and_no_label_reaches_over_a_boundary(
    toys: Path, tmp_path: Path
) -> None:
    """Ten requests, a second apart; a label is known 2.5 s after its answer."""
    folder = tmp_path / "log"
    requests = [
        Request(
            f"r{n}",
            _subject(),
            tuple(Candidate(t, Item(t, {"title": t, "color": "red"}), position=1) for t in TOYS),
            meta={SERVED_AT: 1_800_000_000.0 + n},
        )
        for n in range(10)
    ]
    folder.mkdir()
    staged = StagedRequests()
    staged.add([request_rows(request) for request in requests])
    staged.write(folder, "toys/like")
    out = tmp_path / "joined.jsonl"
    rows = [{"request_id": "r0", "candidate_id": "Ball", "label": "like", "time": 1_800_000_002}]
    # One too late, one before it was shown, and the end of what is known.
    rows += [{"request_id": "r1", "candidate_id": "Ball", "label": "like", "time": 1_800_000_004}]
    rows += [{"request_id": "r2", "candidate_id": "Ball", "label": "like", "time": 1_800_000_001}]
    rows += [{"request_id": "x", "candidate_id": "x", "label": "like", "time": 1_800_000_010}]
    given = outcomes_file(tmp_path / "outcomes.csv", rows)
    done = join(
        folder,
        "toys/like",
        out,
        outcomes=given,
        within="2.5s",
        none="dislike",
        valid=0.2,
        test=0.4,
        project=toys,
    )
    # test from r6, valid from r4; of train only r0 and r1 are known before r4, of valid none.
    assert done.parts == {"none": 4, "test": 4, "train": 2}
    read = {r.request_id: r for r in read_requests(out, errors=lambda row: None)}
    first = {name: request.candidates[0].outcomes for name, request in read.items()}
    assert first["r0"] == {"like": "like"}
    assert all(first[f"r{n}"] == {"like": "dislike"} for n in range(1, 8))
    assert first["r8"] == first["r9"] == {}  # younger than the window


def _subject() -> Any:
    from promptrank.records import Subject

    return Subject(member_id="Ann", member={"name": "Ann"})


def test_outcomes_by_hand(toys: Path) -> None:
    questions = open_task("toys/like", project=toys).task.questions
    shown, hidden = (Candidate("a", Item("a", {}), position=p) for p in (1, None))

    def outcomes(*happened: tuple[float | None, str], **more: Any) -> LogOutcomes:
        rows = {"r": {"a": list(happened)}}
        given: dict[str, Any] = {"within": 10.0, "none": "dislike", "end": 100.0} | more
        return LogOutcomes(questions, rows, **given)

    liked, disliked = ({"like": name} for name in ("like", "dislike"))
    assert outcomes((5.0, "dislike"), (9.0, "like")).labels("r", 0.0, shown) == (liked, "outcomes")
    assert outcomes((11.0, "like")).labels("r", 0.0, shown) == (disliked, "no outcome")
    assert outcomes((10.0, "like")).labels("r", 0.0, shown) == (liked, "outcomes")
    assert outcomes((5.0, "like"), end=9.0).labels("r", 0.0, shown) == ({}, "")
    assert outcomes().labels("r", 0.0, hidden) == ({}, "outcomes")
    assert outcomes(none=None).labels("r", 0.0, shown) == ({}, "outcomes")
    unknown = outcomes((5.0, "bought"))
    assert unknown.labels("r", 0.0, shown) == ({}, "outcomes") and unknown.unknown == {"bought": 1}


@pytest.mark.long
def test_what_is_wrong_is_said(toys: Path, liked: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    served(toys, log, None, NAMES[:2])
    row = {"request_id": "r0", "candidate_id": "Ball", "label": "like"}
    outcomes_file(tmp_path / "words.csv", [row | {"time": t} for t in (1700000000, "yesterday")])
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"none": "dislik"}, "did you mean 'dislike'"),
        ({"within": "7"}, "duration"),
        ({"within": "7d"}, "no time in a column `time`"),
        (
            {"outcomes": "words.csv", "within": "7d"},
            "words.csv: time: 'yesterday' is no time; give",
        ),
        ({"outcomes": "words.csv"}, "'yesterday' is no time; give unix seconds or a timestamp"),
        ({"valid": 0.5, "test": 0.5}, "together less than 1"),
        ({"outcomes": "none.csv"}, "no such file of outcomes"),
        ({"outcomes": "liked.txt"}, "ends in"),
        ({"out": "joined.csv"}, r"\.jsonl or \.parquet"),
    ]
    for change, message in wrong:
        given = {"outcomes": liked, "out": tmp_path / "joined.jsonl"} | change
        for name in ("outcomes", "out"):
            given[name] = tmp_path / given[name]
        with pytest.raises(InputError, match=message):
            join(log, "toys/like", given.pop("out"), project=toys, **given)


@pytest.mark.long
def test_what_counts_for_nothing_is_told_and_labels_that_are_all_one(
    toys: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    served(toys, log, None, NAMES[:2])
    row = {"request_id": "r0", "label": "like"}
    rows = [row | {"candidate_id": "Ball", "time": 4e9}, row | {"candidate_id": "Car", "time": 1e3}]
    path = outcomes_file(tmp_path / "liked.csv", rows)
    arguments = ["join", str(log), "toys/like", "--out", str(tmp_path / "joined.jsonl")]
    arguments += ["--project", str(toys), "--outcomes", str(path)]
    ran = CliRunner().invoke(command, arguments)
    assert ran.exit_code == 0, ran.output
    told = " ".join(ran.stderr.split())
    assert "2 of 2 outcomes are of the log" in told and "1 with a label" in told
    assert "1 outcome from before the answer, left out" in told
    assert "every label is 'like', which tells nothing apart: --none LABEL" in told
    outcomes_file(path, rows[:1])
    again = CliRunner().invoke(command, [*arguments, "--none", "dislike"])
    told = " ".join(again.stderr.split())
    assert "1 of 1 outcome is of the log" in told and "every label" not in told


def test_a_table_that_would_change_what_was_sent_is_refused(toys: Path, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    items: list[dict[str, Any]] = [
        {"title": "Ball", "color": "red"},
        {"title": "Car", "color": 7},
    ]
    candidates = tuple(Candidate(f"{n}", Item(f"{n}", item)) for n, item in enumerate(items))
    request = Request("r", _subject(), candidates, meta={SERVED_AT: 1.0})
    staged = StagedRequests()
    staged.add([request_rows(request)])
    staged.write(folder, "toys/like")
    assert [p.suffix for p in log_files(folder, "toys/like").requests] == [".jsonl"]
    with pytest.raises(InputError, match=r"write joined\.jsonl"):
        join(folder, "toys/like", tmp_path / "joined.parquet", project=toys)
    join(folder, "toys/like", tmp_path / "joined.jsonl", project=toys)
    (back,) = read_requests(tmp_path / "joined.jsonl", errors=lambda row: None)
    assert repr(back) == repr(replace(request))
