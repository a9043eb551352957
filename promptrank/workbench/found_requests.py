"""Request files of a project's tasks: those that it keeps, and those that somebody names."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from promptrank.basics.json_files import read_json
from promptrank.basics.seals import config_beside
from promptrank.basics.telling import Say
from promptrank.errors import DataError, InputError
from promptrank.requests.source import RequestFile
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import PARTS, OpenTask

FOLDER = "requests"


def request_files_of(project: Path, task: str) -> tuple[Path, ...]:
    """Request files that `promptrank build` has written for the task, the newest first.

    They are looked for in the project's folder and in its ``requests/``.
    """
    files = [path for path in _candidates(project) if _of(path) == task]
    return tuple(sorted(files, key=lambda path: path.stat().st_mtime, reverse=True))


def readable_files(opened: OpenTask, files: Iterable[Path], say: Say) -> tuple[Path, ...]:
    """Those that pages can read; a word goes to ``say`` for each of the others."""
    readable = []
    for path in files:
        try:
            _check_read(given_file(opened, path))
        except InputError as error:
            say(f"the pages leave out {path.name}: {error}")
        else:
            readable.append(path)
    return tuple(readable)


def named_request_file(opened: OpenTask, given: str, served: Collection[str]) -> Path:
    """A request file that somebody names for a task, once it is known that pages can read it.

    Args:
        served: names of all tasks of the server.

    Raises:
        DataError: it is not there, cannot be read, holds no request, or is another task's.
    """
    file = given_file(opened, given)
    built_for = _of(file.path)
    if built_for is not None and built_for != opened.name:
        then = (
            f"give it to that task alone, by --requests {built_for}={given}"
            if built_for in served
            else f"`promptrank build {opened.name}` writes one"
        )
        raise DataError(
            f"--requests {given}: requests of {built_for}, and not of {opened.name}; {then}"
        )
    _check_read(file)
    if not file.ids(limit=1):
        raise DataError(f"--requests {given}: no request is in it; `promptrank build` writes some")
    return file.path


def _check_read(file: RequestFile) -> None:
    if file.task.split is not None:
        file.ids(set(PARTS), 1)  # pages ask by part
    file.ids(limit=1)


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
