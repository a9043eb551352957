"""The request file a verb works on: a given one, or one built from the task's tables for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from promptrank.api.build import build
from promptrank.api.tasks import OpenTask, Say, data_folder
from promptrank.errors import DataError, ErrorRow
from promptrank.records import Request


@dataclass(frozen=True, slots=True)
class RequestFile:
    """A request file.

    Attributes:
        set_aside: rows that building it set aside; of a given file, `build` has told them.
    """

    path: Path
    set_aside: tuple[ErrorRow, ...] = ()


@contextmanager
def request_file(
    opened: OpenTask, requests: str | Path | None, *, splits: set[str] | None, say: Say
) -> Iterator[RequestFile]:
    """The given request file, or one built from the task's tables that is gone afterwards.

    Raises:
        DataError: the given file does not exist.
    """
    if requests is not None:
        if not Path(requests).is_file():
            raise DataError(f"no request file {requests}; `promptrank build` writes one")
        yield RequestFile(Path(requests))
        return
    with TemporaryDirectory(prefix="promptrank-") as folder:
        path = Path(folder) / "requests.parquet"
        say("building requests")
        built = build(opened, path, splits=splits, say=say)
        for note in built.notes:
            say(note)
        yield RequestFile(path, tuple(_error_rows(built.errors_path)))


def _error_rows(path: Path) -> Iterator[ErrorRow]:
    import json

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


def read(
    opened: OpenTask,
    file: Path,
    splits: set[str] | None,
    lost: dict[str, list[ErrorRow]],
    only: set[str] | None = None,
) -> Iterator[Request]:
    """The requests of a file; rows that cannot be read are collected in ``lost`` by request."""
    from promptrank.requests.read import read_requests
    from promptrank.tables.own_items import task_items

    def keep(row: ErrorRow) -> None:
        lost.setdefault(row.request_id or "", []).append(row)

    for request in read_requests(
        file,
        task=opened.task,
        own_items=lambda: task_items(opened.task, data_folder(opened)),
        splits=splits,
        errors=keep,
    ):
        if only is None or request.request_id in only:
            yield request


def items_stamp(opened: OpenTask, file: Path) -> list[tuple[str, int, int]] | None:
    """Name, size and change time of the item table's files, where items come from there.

    None where the request file has a snapshot of its own, which its digest covers.
    """
    from promptrank.requests.format import items_path_of

    if items_path_of(file).is_file():
        return None
    table = opened.task.tables[opened.task.item_table or ""]
    names = [table.path] if isinstance(table.path, str) else table.path or []
    root = data_folder(opened)
    found = sorted(p for n in names if "://" not in n for p in _files(root, n))
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in found]


def _files(root: Path, name: str) -> Iterator[Path]:
    path = Path(name)
    if path.is_absolute():
        yield from Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    else:
        yield from root.glob(name)
