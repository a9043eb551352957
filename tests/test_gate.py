"""`promptrank eval` as the gate of a change: what it is held against, exit codes, the summary."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.adapters.card import AdapterCard, Base, prompting
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.prompt.template import load_template
from promptrank.requests.write import write_table
from promptrank.workspace.named import parse_named
from promptrank.workspace.rivals import check_templates
from promptrank.workspace.tasks import open_task
from support.adapters import a_folder, a_task_card
from support.toys import PEOPLE, TEMPLATE

Run = Callable[..., Any]


@pytest.fixture
def requests(toys: Path) -> Path:
    """Requests of the toys, with a served ranker's scores of most candidates."""
    made = toys / "requests.jsonl"
    promptrank.build("toys/like", made, project=toys)
    rows = [json.loads(line) for line in made.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["logged_score"] = None if number % 9 == 0 else number % 7 / 7
    write_table(toys / "logged.jsonl", rows)
    return toys / "logged.jsonl"


@pytest.fixture
def run(toys: Path) -> Run:
    def command(*words: str | Path) -> Any:
        given = ["eval", "toys/like", "--engine", "fake", "--draws", "100", "--project", toys]
        return CliRunner().invoke(app, [*map(str, [*given, *words])])

    return command


@pytest.mark.long
def test_a_requirement_that_fails_ends_with_3_after_the_report(
    run: Run, requests: Path, tmp_path: Path
) -> None:
    report, summary = tmp_path / "e.json", tmp_path / "summary.md"
    summary.write_text("earlier\n")
    words = ("--requests", requests, "--out", report, "--summary", summary)
    failing = run(*words, "--require", "auc >= 0.1", "--require", "auc >= random + 0.45")
    assert failing.exit_code == 3
    first, *more = failing.stdout.splitlines()
    assert first == "does not ship: 1 of 2 requirements fails (auc >= random + 0.45)"
    assert more[0].startswith("holds: auc .")
    assert "is below random + .45 = .950 by ." in more[1]
    assert first in failing.stderr
    kept = json.loads(report.read_text())
    assert [result["holds"] for result in kept["requirements"]] == [True, False]
    assert kept["verdict"]["outcome"] == "does not ship"
    assert kept["verdict"]["beat"] == ["logged"]
    text = summary.read_text()
    assert text.startswith("earlier\n### promptrank eval toys/like\n\n**does not ship: ")
    assert "- **FAILS: `auc` ." in text

    holding = run(*words, "--require", "auc[history=3-5] >= .1")  # goes on from the scores
    assert holding.exit_code == 0, holding.output
    assert holding.stdout.startswith("ships: 1 requirement of decoder holds\n")
    assert "history 3-5" in holding.stdout
    assert summary.read_text().count("### promptrank eval") == 2


@pytest.mark.slow
def test_what_cannot_be_decided_ends_with_2_after_the_report(
    run: Run, requests: Path, tmp_path: Path
) -> None:
    report = tmp_path / "e.json"
    ended = run("--requests", requests, "--out", report, "--require", "auc[history=0] >= 0.1")
    assert isinstance(ended.exception, InputError)
    assert "no compared candidate is in history 0" in str(ended.exception)
    assert "the data cannot tell: 1 of 1 requirement cannot be decided" in ended.stdout
    assert json.loads(report.read_text())["requirements"][0]["holds"] is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--require", "acu >= 0.1"], "did you mean 'auc'"),
        (["--require", "auc >= bace", "--vs", "base"], "no ranker 'bace' is compared"),
        (["--require", "auc >= base"], "no ranker 'base' is compared"),
        (["--vs", "adapter:nope"], "nope"),
        (["--vs", "student:nope"], "nope"),
        (["--vs", "scores:nope.parquet"], "nope.parquet"),
        (["--vs", "bm25"], "did you mean 'baseline:bm25'"),
        (["--vs", "basline:bm25"], "did you mean 'baseline:bm25'"),
        (["--slice", "histori"], "did you mean 'history'"),
        (["--slice", "item.nope"], "no candidate has it"),
        (["--vs", "logged:it"], "base, baseline:NAME, template:FILE, logged,"),
        (["--vs", "template:toys/lik.j2"], "template toys/lik.j2"),
        (["--vs", "template:toys/like.j2", "--engine", "student:x"], "leave --scores and students"),
        (["--summary", ""], r"--summary \.: is a folder; .*GITHUB_STEP_SUMMARY"),
        (["--summary", "nowhere/s.md"], "there is no folder nowhere"),
    ],
)
def test_what_names_nothing_is_refused_before_anything_is_ranked(
    run: Run, words: list[str], message: str
) -> None:
    ended = run(*words)
    assert isinstance(ended.exception, InputError)
    with pytest.raises(InputError, match=message):
        raise ended.exception
    assert "fitting" not in ended.stderr
    # What a field holds is in the requests only; all else is known before any is built.
    assert ("building" in ended.stderr) == (words[0] == "--slice" and "." in words[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--require", "auc >= logged"], "no ranker 'logged' is compared"),
        (["--vs", "logged"], "--vs logged: no candidate of this part has a logged score"),
    ],
)
def test_what_the_log_lacks_is_refused_before_anything_is_ranked(
    run: Run, words: list[str], message: str
) -> None:
    ended = run(*words)
    with pytest.raises(InputError, match=message):
        raise ended.exception
    assert "ranking" not in ended.stderr


@pytest.mark.slow
def test_the_logs_own_scores_by_name(toys: Path, requests: Path) -> None:
    report = promptrank.evaluate(
        "toys/like", project=toys, engine="fake", requests=requests, vs=["logged"], draws=100
    )
    served = report.ranker("logged")
    assert served.unscored == report.counts.left_out > 0
    assert report.verdict is not None
    assert report.verdict.beat == ("logged",)
    assert [row.name for row in report.rankers].count("logged") == 1
    assert "logged" in report.baselines


@pytest.mark.slow
def test_another_template_by_the_same_decoder(toys: Path) -> None:
    other = toys / "templates/toys/other.j2"
    other.write_text(TEMPLATE.replace("You rank toys", "Choose toys"))
    same = toys / "templates/toys/same.j2"
    same.write_text(TEMPLATE)
    vs = ["template:toys/other.j2", "template:toys/same.j2"]
    report = promptrank.evaluate("toys/like", project=toys, engine="fake", vs=vs, draws=100)
    edited, copied = (report.ranker(name) for name in vs)
    assert copied.differences["auc"].value == 0.0  # the file's name changes nothing
    assert edited.differences["auc"].value != 0.0
    assert edited.origin["prompt"] != report.rankers[0].origin["prompt"]
    assert edited.origin["engine"] == report.rankers[0].origin["engine"]
    assert report.verdict is not None
    assert set(vs) <= set(report.verdict.beat)


def test_an_adapter_that_was_trained_with_another_template_is_told(toys: Path) -> None:
    opened = open_task("toys/like", project=toys)
    words = load_template(opened.task.template, opened.place.template_folders)
    card = replace(a_task_card(), prompting=prompting(opened.task, words.sources))
    whole = AdapterCard(
        Base("tiny", "b" * 64), {"toys/like": card}, {}, (), "2026-01-01T00:00:00+00:00", {}
    )
    a_folder(toys / "adapters/mine", card=whole)
    (toys / "templates/toys/other.j2").write_text(TEMPLATE.replace("Toy:", "A toy:"))
    rivals = [parse_named(f"template:toys/{name}.j2", ("template",)) for name in ("other", "like")]
    said: list[str] = []
    (note,) = check_templates(opened, rivals, "mine", said.append)
    assert note.startswith("template:toys/other.j2: the adapter mine was trained with another")
    assert said == [f"warning: {note}"]
    assert check_templates(opened, rivals, None, said.append) == []


@pytest.mark.slow
def test_scores_files_of_few_and_of_other_candidates(toys: Path, tmp_path: Path) -> None:
    scores = tmp_path / "s.parquet"
    given: dict[str, Any] = {"project": toys, "engine": "fake"}
    promptrank.rank("toys/like", scores, **given)
    rows = pq.read_table(scores, columns=["request_id", "candidate_id", "score"]).to_pylist()
    files = {
        "most": rows[:-10],
        "few": rows[:10],
        "other": [{**r, "candidate_id": "x"} for r in rows],
    }
    for name, some in files.items():
        write_table(tmp_path / f"{name}.jsonl", some[:1] if name == "other" else some)
    most, few, other = (f"scores:{tmp_path}/{name}.jsonl" for name in files)
    said: list[str] = []
    report = promptrank.evaluate("toys/like", vs=[most, few], draws=100, say=said.append, **given)
    assert f"{most} has scores for 50 of 60 candidates that are evaluated" in said
    assert (report.ranker(most).unscored, report.counts.left_out) == (10, 10)
    assert report.counts.candidates == PEOPLE * 5 - 10
    assert report.absent[few].startswith("scores 10 of the 60 labelled candidates (17%)")
    with pytest.raises(DataError, match=r"no score for any of the 60 .* its 1 rows are"):
        promptrank.evaluate("toys/like", vs=[other], **given)
    # Scores to evaluate: of other requests altogether, and of another request file.
    with pytest.raises(DataError, match=r"--scores: has no score for any of the 60 .*--split"):
        promptrank.evaluate("toys/like", scores=tmp_path / "other.jsonl", project=toys)
    row = {"request_id": "q", "item_id": "a", "item": {"title": "Car", "color": "red"}}
    row |= {"member": {"name": "Ann"}}
    write_table(tmp_path / "asked.jsonl", [row])
    promptrank.rank("toys/like", scores, requests=tmp_path / "asked.jsonl", **given)
    with pytest.raises(DataError, match=r"are of another request file; name by --requests"):
        promptrank.evaluate("toys/like", scores=scores, project=toys)
