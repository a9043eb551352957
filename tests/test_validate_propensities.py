"""`validate` shows propensities that are no probabilities, in tables and in request files."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.cli.main import app
from promptrank.requests.write import write_table
from support.toys import TASK, write_rows

LOG = """\
requests:
  path: log.csv
  id: request
  subject: {{member: people}}
  candidate: {{item: toys, propensity: chance, label: "if(liked, 'like', 'dislike')"}}
questions:"""


@pytest.fixture
def logged(toys: Path) -> Path:
    """A task whose log has 8 rows in 4 requests: chances 0 and 1.5, and one that is missing."""
    ratings = TASK[TASK.index("ratings:") : TASK.index("questions:")]
    task = TASK.replace(ratings + "questions:", LOG).replace(
        "split: {{by: last, test: 1, valid: 1}}\n", ""
    )
    model = next(
        line.removeprefix("model: ")
        for line in (toys / "tasks/toys/like.yaml").read_text().splitlines()
        if line.startswith("model: ")
    )
    (toys / "tasks/toys/log.yaml").write_text(task.format(model=model))
    chances = ["0.5", "0", "0.25", "1.5", "", "1", "0.125", "inf"]
    write_rows(
        toys / "log.csv",
        [
            {
                "request": f"r{i // 2}",
                "person_id": f"p{i // 2}",
                "toy_id": f"t{i}",
                "chance": chance,
                "liked": i % 2 == 0,
            }
            for i, chance in enumerate(chances)
        ],
    )
    return toys


@pytest.mark.long
def test_of_tables_all_rows_are_counted_with_the_first_ones(logged: Path) -> None:
    found = promptrank.validate("toys/log", project=logged)
    assert not found.problems
    bad, missing = (w for w in found.warnings if w.startswith("requests.candidate.propensity: "))
    told = "3 rows of 8 with a propensity that is not above 0 and at most 1, such as 0 (request r0)"
    assert f"{told}, 1.5 (request r1), inf (request r3)" in bad
    assert "1 row of 8 without a propensity, such as request r2: they count as not shown" in missing


@pytest.mark.long
def test_of_a_request_file_too(logged: Path, tmp_path: Path) -> None:
    built = tmp_path / "built.jsonl"
    promptrank.build("toys/log", built, project=logged)
    rows = [json.loads(line) for line in built.read_text().splitlines()]
    assert [row.get("propensity") for row in rows] == [0.5, 0.25, None, 1.0, 0.125]
    rows[0]["propensity"], rows[1]["propensity"] = 0, 1.5
    write_table(tmp_path / "edited.jsonl", rows)
    words = ["validate", "toys/log", "--project", logged, "--requests", tmp_path / "edited.jsonl"]
    ended = CliRunner().invoke(app, [*map(str, words)])
    assert ended.exit_code == 0, ended.output
    text = ended.stdout
    assert "edited.jsonl: 2 requests, 3 candidates, 4 rows set aside" in text
    first = "such as candidate t0 of request r0 (propensity: 0 is not above 0 and at most 1"
    assert f"warning: edited.jsonl: 2 rows set aside (bad_row), {first}" in text
    without = "1 of 3 labelled candidates without a propensity, such as candidate t4 of request r2"
    assert f"warning: edited.jsonl: {without}" in text


@pytest.mark.long
def test_a_log_with_sound_propensities_has_no_warning(logged: Path) -> None:
    table = logged / "log.csv"
    table.write_text(
        table.read_text()
        .replace(",0,", ",0.1,")
        .replace("1.5", "1")
        .replace("inf", "1")
        .replace(",,", ",1,")
    )
    assert not [
        w for w in promptrank.validate("toys/log", project=logged).warnings if "propensity" in w
    ]
