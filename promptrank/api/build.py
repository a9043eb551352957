"""``build``: a task's tables into a request file."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.api.manifest import manifest, write_json
from promptrank.api.outputs import check_output
from promptrank.api.tasks import OpenTask, Say, check_splits, data_folder, open_task, silent

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
    """Write a task's requests to ``out`` (``.parquet`` or ``.jsonl``; format: docs/requests.md).

    Beside it: ``<stem>.items.arrow`` (the items), ``<stem>.errors.jsonl`` (rows set aside, with
    reasons) and ``<stem>.config.json``.

    Args:
        splits: only these parts (``train``, ``valid``, ``test``).
        limit: at most this many requests of each part, chosen by a hash of their ids.

    Raises:
        DataError: a table that is missing, empty, or lacks a column.
    """
    from promptrank.tables.build import build_requests

    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
    check_splits(opened.task, splits)
    path = check_output(out, (".parquet", ".jsonl"))
    root = data_folder(opened, say)
    built = build_requests(opened.task, root=root, out=path, say=say, limit=limit, splits=splits)
    facts = manifest("build", opened.task, opened.name, data=asdict(built))
    write_json(path.with_name(f"{path.stem}.config.json"), facts)
    return built
