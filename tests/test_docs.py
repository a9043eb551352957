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


def test_nothing_is_left_to_be_filled_in() -> None:
    pages = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
    assert not [p.name for p in pages if "@@" in p.read_text(encoding="utf-8")]


def test_the_readmes_python_runs_as_it_stands(
    tiny_llama_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import promptrank

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    real = promptrank.open_ranker

    def small(task: str) -> promptrank.Ranker:
        return real(task, model=str(tiny_llama_path))

    monkeypatch.setattr(promptrank, "open_ranker", small, raising=False)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "item-1" in capsys.readouterr().out
