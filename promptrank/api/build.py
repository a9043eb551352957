"""``build``: a task's tables into a request file."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.seals import file_digests, write_sealed
from promptrank.basics.telling import Say, silent
from promptrank.runs.manifest import manifest
from promptrank.runs.outputs import check_output, taken
from promptrank.scores.read import config_of
from promptrank.workspace.request_files import build_file
from promptrank.workspace.tasks import OpenTask, check_splits, open_task

if TYPE_CHECKING:
    from promptrank.tables.build import Built


def build(
    task: str | OpenTask,
    out: str | Path,
    *,
    splits: set[str] | None = None,
    limit: int | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    say: Say = silent,
) -> "Built":
    """Write a task's requests to ``out`` (parquet or JSONL, docs/reference/requests.md).

    Beside it: ``<stem>.items.arrow`` (the items), ``<stem>.errors.jsonl`` (rows set aside, with
    reasons) and ``<stem>.config.json``.

    Args:
        splits: only these parts (``train``, ``valid``, ``test``).
        limit: at most this many requests of each part, chosen by a hash of their ids.

    Raises:
        DataError: a table that is missing, empty, or lacks a column.
    """
    opened = open_task(task, project=project, settings=settings)
    check_splits(opened.task, splits)
    path = check_output(out, (".parquet", ".jsonl"))
    with taken(path, "build"):
        built = build_file(opened, path, splits=splits, limit=limit, say=say)
        names = [place.name for place in (path, built.items_path, built.errors_path)]
        about = manifest("build", opened.task, opened.name, data=asdict(built))
        write_sealed(config_of(path), {**about, "files": file_digests(path.parent, names)})
    return built
