"""What a newcomer does: init, validate, build, rank, eval; and the schema that editors use."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.api.start import STARTER, schema_text
from promptrank.cli.main import app
from promptrank.errors import InputError
from promptrank.project import builtin_root
from promptrank.schema.load import read_yaml
from test_task_files import GOOD, changed

Run = Callable[..., str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in an empty working folder; the words on stdout."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str | Path) -> str:
        result = CliRunner().invoke(app, [*map(str, words)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


@pytest.mark.long
def test_a_newcomers_first_five_commands(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama_path: Path
) -> None:
    listed = run("init", "shop").splitlines()
    assert "shop/tasks/books/like.yaml" in listed
    assert "shop/task.schema.json" in listed
    monkeypatch.chdir(tmp_path / "shop")
    model = ("--model", tiny_llama_path)
    checked = run("validate", "books/like", *model)
    assert checked.endswith("books/like: fine\n")
    assert "warning" not in checked
    run("build", "books/like", "-o", "requests.parquet")
    run("rank", "books/like", "-o", "scores.parquet", "--engine", "fake", *model)
    scores = pq.read_table("scores.parquet").to_pylist()
    assert len(scores) == 24 * 5  # a request of five for each reader
    assert (tmp_path / "shop" / "scores.errors.jsonl").read_text() == ""
    report = run("eval", "books/like", "--engine", "fake", "--draws", "100", *model)
    assert "decoder" in report
    assert "popularity" in report
    assert "24 subjects, 24 requests, 120 candidates" in report


def test_the_starter_is_a_whole_project() -> None:
    files = {path.relative_to(STARTER).as_posix() for path in STARTER.rglob("*") if path.is_file()}
    assert {"tasks/books/like.yaml", "templates/books/like.j2", "data/ratings.csv"} <= files
    task = (STARTER / "tasks/books/like.yaml").read_text()
    where = re.match(r"# yaml-language-server: \$schema=(\S+)\n", task)
    assert where is not None
    assert (STARTER / "tasks/books" / where[1]).resolve() == STARTER / "task.schema.json"


def test_init_never_writes_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    promptrank.init(tmp_path / "shop")  # empty is fine
    note = tmp_path / "notes" / "note.txt"
    note.parent.mkdir()
    note.write_text("mine")
    for folder in (tmp_path / "shop", note.parent, note):
        with pytest.raises(InputError, match="not empty"):
            promptrank.init(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes", "shop"]
    assert [path.name for path in note.parent.iterdir()] == ["note.txt"]


def test_init_says_so_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        promptrank.init(tmp_path / "file" / "shop")


@pytest.mark.long
def test_schema_on_stdout_and_in_a_file(run: Run, tmp_path: Path) -> None:
    printed = run("schema")
    assert printed == schema_text()
    run("schema", "-o", "a.json")
    assert (tmp_path / "a.json").read_text() == printed
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def check(values: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(promptrank.task_schema())
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(values)]


def shipped() -> list[Path]:
    folders = [builtin_root() / "tasks", STARTER / "tasks", builtin_root() / "docs" / "examples"]
    return [path for folder in folders for path in sorted(folder.rglob("*.yaml"))]


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_shipped_task_follows_the_schema(path: Path) -> None:
    assert check(read_yaml(path)) == []


@pytest.mark.long
def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(promptrank.task_schema())


def test_short_forms_are_in_the_schema() -> None:
    """A task that promptrank reads must not be underlined in an editor."""
    answers = {"like": {"say": 1, "value": 1}, "dislike": {"say": ["No", 0], "value": 0}}
    values = {**GOOD, "questions": {"like": {"answers": answers}}}
    assert check(values) == []
    assert check({**values, "history": {"last": 3, "lag": "1h"}}) == []
    assert check({**values, "split": {"by": "time", "test": "7d", "gap": "1d"}}) == []


@pytest.mark.parametrize(
    ("values", "place"),
    [
        (changed(modle="x"), ""),
        (changed(ratings__group__lst=3), "ratings"),
        (changed(budget__tokens="many"), "budget.tokens"),
        (changed(history="{as: lists}"), "history"),
        ({"domain": "toys"}, ""),
    ],
)
def test_mistakes_are_found_by_the_schema_too(values: dict[str, Any], place: str) -> None:
    places = check(values)
    assert places
    assert all(where.startswith(place) for where in places)
