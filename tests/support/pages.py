"""What the documentation shows: code blocks, links and the files of a tutorial."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """The texts of a page's code blocks in one language."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for shown, _, text in found if shown == language]


def write_files(page: Path, folder: Path) -> list[Path]:
    """Write every code block that has a file's name as its title; the files, in their order."""
    paths = []
    for _, title, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if title:
            path = folder / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            paths.append(path)
    return paths


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Command lines of a page's console blocks without prompt and comment, and their output."""
    shown: list[tuple[str, list[str]]] = []
    for line in "".join(blocks(page, "console")).splitlines():
        if line.startswith("$ "):
            shown.append((re.sub(r"\s+#.*", "", line[2:]), []))
        elif shown:
            shown[-1][1].append(line)
    return shown


def links(page: Path) -> list[tuple[str, str]]:
    """(path, anchor) of every link of a page to the project's own files."""
    found = re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8"))
    return [(path, anchor) for path, anchor in found if "://" not in path]


def anchors(page: Path) -> set[str]:
    """What links into a page may point to, one anchor a heading, as GitHub and the site make it."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in headings}
