"""The documents say what the code does."""

import re
from pathlib import Path

import pytest

from promptrank.schema.load import parse_task, read_yaml
from promptrank.schema.reference import update

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def test_the_task_reference_is_current() -> None:
    assert update(ROOT / "docs" / "tasks.md", write=False), "run `make fix`"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [x for x in links if "://" not in x and not (page.parent / x).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_task_shown_in_a_page_is_a_task(page: Path, tmp_path: Path) -> None:
    for text in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        if not re.search(r"^domain:", text, re.MULTILINE):
            continue
        path = tmp_path / "task.yaml"
        path.write_text(text, encoding="utf-8")
        assert parse_task(read_yaml(path), page.name).domain


def test_the_readme_is_short_and_starts_with_a_command() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    assert any(line.startswith("$ make demo") for line in lines[:20])
