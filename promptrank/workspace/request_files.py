"""The request file a verb works on: a given one, or one built from the task's tables for it."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from promptrank.basics.telling import Say
from promptrank.errors import DataError, ErrorRow
from promptrank.requests.format import items_path_of
from promptrank.requests.items import ItemTable
from promptrank.requests.source import RequestFile
from promptrank.workspace.tasks import OpenTask, data_folder

if TYPE_CHECKING:
    from promptrank.tables.build import Built


def build_file(
    opened: OpenTask,
    path: Path,
    *,
    splits: set[str] | None = None,
    limit: int | None = None,
    say: Say,
) -> "Built":
    """Build a task's requests from its tables.

    Raises:
        DataError: a table that is missing, empty, or lacks a column.
    """
    from promptrank.tables.build import build_requests

    root = data_folder(opened, say)
    return build_requests(opened.task, root=root, out=path, say=say, limit=limit, splits=splits)


def given_file(opened: OpenTask, path: str | Path) -> RequestFile:
    """A request file that is there.

    Raises:
        DataError: it is not.
    """
    if not Path(path).is_file():
        raise DataError(f"no request file {path}; `promptrank build` writes one")
    return _file(opened, Path(path), ())


@contextmanager
def request_file(
    opened: OpenTask, requests: str | Path | None, *, splits: set[str] | None, say: Say
) -> Iterator[RequestFile]:
    """The given request file, or one built from the task's tables that is gone afterwards.

    Raises:
        DataError: the given file does not exist.
    """
    if requests is not None:
        yield given_file(opened, requests)
        return
    with TemporaryDirectory(prefix="promptrank-") as folder:
        path = Path(folder) / "requests.parquet"
        say("building requests")
        built = build_file(opened, path, splits=splits, say=say)
        for note in built.notes:
            say(note)
        yield _file(opened, path, tuple(_error_rows(built.errors_path)))


def _file(opened: OpenTask, path: Path, set_aside: tuple[ErrorRow, ...]) -> RequestFile:
    from promptrank.tables.own_items import task_items

    def own_items() -> AbstractContextManager[ItemTable]:
        return task_items(opened.task, data_folder(opened))

    return RequestFile(path, opened.task, own_items, set_aside)


def _error_rows(path: Path) -> Iterator[ErrorRow]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield ErrorRow(
                row.get("request_id"),
                row.get("candidate_id"),
                row["stage"],
                row["reason"],
                row["message"],
            )


def items_stamp(opened: OpenTask, file: Path) -> list[tuple[str, int, int]] | None:
    """Name, size and change time of the item table's files, where items come from there.

    None where the request file has a snapshot of its own, which its digest covers.
    """
    if items_path_of(file).is_file():
        return None
    table = opened.task.tables[opened.task.item_table or ""]
    names = [table.path] if isinstance(table.path, str) else table.path or []
    root = data_folder(opened)
    paths = sorted(p for n in names if "://" not in n for p in _files(root, n))
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]


def _files(root: Path, name: str) -> Iterator[Path]:
    path = Path(name)
    if path.is_absolute():
        yield from Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    else:
        yield from root.glob(name)
