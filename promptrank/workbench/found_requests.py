"""Request files of a project's tasks, where the project keeps them."""

from collections.abc import Iterator
from pathlib import Path

from promptrank.basics.json_files import read_json
from promptrank.basics.seals import config_beside
from promptrank.errors import InputError

FOLDER = "requests"


def request_files_of(project: Path, task: str) -> tuple[Path, ...]:
    """Request files that `promptrank build` has written for the task, the newest first.

    They are looked for in the project's folder and in its ``requests/``.
    """
    files = [path for path in _candidates(project) if _of(path) == task]
    return tuple(sorted(files, key=lambda path: path.stat().st_mtime, reverse=True))


def _candidates(project: Path) -> Iterator[Path]:
    for folder in (project, project / FOLDER):
        if folder.is_dir():
            yield from (p for p in folder.iterdir() if p.suffix in (".parquet", ".jsonl"))


def _of(path: Path) -> str | None:
    """The task that a file was built for; None where that is not known."""
    beside = config_beside(path)
    if not (path.is_file() and beside.is_file()):
        return None
    try:
        config = read_json(beside)
    except InputError:
        return None
    task = config.get("task")
    return task if config.get("command") == "build" and isinstance(task, str) else None
