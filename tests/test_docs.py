"""The documents say what the code does, and their links lead somewhere."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

import promptrank
from promptrank.cli.main import app
from promptrank.schema.load import parse_task, read_yaml
from promptrank.schema.reference import update
from support.pages import DOCS, PAGES, ROOT, anchors, blocks, links, write_files

TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
page_names = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)


def test_the_task_reference_is_current() -> None:
    assert update(DOCS / "reference" / "tasks.md", write=False), "run `make fix`"


@page_names
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    lost = []
    for path, anchor in links(page):
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{path}#{anchor}")
    assert not lost


@page_names
def test_every_task_shown_in_a_page_is_a_task(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        if not re.search(r"^domain:", text, re.MULTILINE):
            continue
        path = tmp_path / "task.yaml"
        path.write_text(text, encoding="utf-8")
        assert parse_task(read_yaml(path), page.name).domain


@page_names
def test_the_python_shown_in_a_page_is_python(page: Path) -> None:
    for text in blocks(page, "python"):
        compile(text, page.name, "exec")


def test_nothing_is_left_to_be_filled_in() -> None:
    pages = [*PAGES, ROOT / "CHANGELOG.md"]
    assert not [p.name for p in pages if re.search("@@|TODO", p.read_text(encoding="utf-8"))]


def test_pages_that_the_code_names_exist() -> None:
    sources = [*(ROOT / "promptrank").rglob("*.py"), *(ROOT / "bench").rglob("*.py")]
    named = {
        page
        for path in sources
        for page in re.findall(r"docs/[\w/.-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert named
    assert not [page for page in sorted(named) if not (ROOT / page).is_file()]


def test_every_command_has_its_line_in_the_reference() -> None:
    text = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    assert not [name for name in command.commands if f"`promptrank {name}" not in text]


def _reasons(path: Path) -> Iterator[str]:
    """Words that a module writes as the ``reason`` of an error row."""
    source = path.read_text(encoding="utf-8")
    place = {"RowError": 0, "Failure": 0, "ErrorRow": 3}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            words = node.args[place.get(node.func.id, 99) :]
            if words and isinstance(words[0], ast.Constant):
                yield str(words[0].value)
    yield from re.findall(r"INTO pr\.errors SELECT [^']*'(\w+)'", source)


@pytest.mark.long
def test_every_reason_of_an_error_row_is_explained() -> None:
    text = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    paths = (ROOT / "promptrank").rglob("*.py")
    reasons = {reason for path in paths for reason in _reasons(path)} - {""}
    assert {"null_key", "candidate_too_long", "not_a_number", "mixed_subject"} <= reasons
    assert not [reason for reason in sorted(reasons) if f"`{reason}`" not in text]


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorials_files_make_a_project_that_ranks(
    page: Path, tmp_path: Path, tiny_llama_path: Path
) -> None:
    paths = write_files(page, tmp_path)
    for script in (path for path in paths if path.name == "make_tables.py"):
        subprocess.run([sys.executable, script.name], cwd=tmp_path, check=True)
    for path in paths:
        if path.suffix != ".yaml" or not path.is_relative_to(tmp_path / "tasks"):
            continue
        task = path.relative_to(tmp_path / "tasks").with_suffix("").as_posix()
        if "data/jobs" in path.read_text(encoding="utf-8"):
            promptrank.simulate_jobs(tmp_path / "data/jobs", promptrank.Switches(members=40))
        model = str(tiny_llama_path)
        checked = promptrank.validate(task, project=tmp_path, model=model)
        assert checked.problems == []
        scores = tmp_path / "scores.parquet"
        ranked = promptrank.rank(task, scores, project=tmp_path, model=model, engine="fake")
        assert ranked.candidates > 0
