"""The request file a verb works on: a given one, or one built from the task's tables for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.addresses import is_object
from promptrank.basics.digests import file_digest
from promptrank.basics.json_files import checked, json_object
from promptrank.basics.paths import expanded
from promptrank.basics.scratch import scratch
from promptrank.basics.seals import config_beside, written_digest
from promptrank.basics.telling import Say, silent
from promptrank.errors import DataError, ErrorRow
from promptrank.places.local_copies import local_copy
from promptrank.requests.row_parts import check_columns
from promptrank.requests.source import RequestFile
from promptrank.workspace.correction_files import corrections_on
from promptrank.workspace.item_tables import OwnItemTable
from promptrank.workspace.tasks import OpenTask, check_splits, data_folder

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


def check_given(path: str | Path) -> None:
    """Refuse a file that is not there, or none of requests, before anything slow is done.

    One in a store is looked at when it is fetched.

    Raises:
        DataError: it is not.
    """
    if not is_object(path):
        check_columns(_there(path))


def _there(path: str | Path) -> Path:
    place = expanded(path)
    if not place.is_file():
        there = "is no plain file" if place.exists() else "`promptrank build` writes one"
        raise DataError(f"no request file {place}; {'it ' if place.exists() else ''}{there}")
    if place.suffix not in (".parquet", ".jsonl"):
        raise DataError(f"{place}: a request file ends in .parquet or .jsonl")
    return place


def asked_splits(
    opened: OpenTask, requests: str | Path | None, splits: set[str] | None
) -> set[str] | None:
    """The parts that are ranked: ``test`` where requests are built and a task with parts says none.

    Raises:
        InputError: the task has no such part.
        DataError: the request file is not there.
    """
    if requests is not None:
        check_given(requests)
        return splits
    check_splits(opened.task, splits)
    return {"test"} if splits is None and opened.task.split is not None else splits


def given_file(opened: OpenTask, path: str | Path, say: Say = silent) -> RequestFile:
    """A request file that is there.

    One that is not as `build` wrote it may have been edited, which is anybody's right, or damaged:
    that is said.

    Raises:
        DataError: it is not.
    """
    place = _there(path)
    stated = written_digest(place, config_beside(place))
    if stated is not None and stated != file_digest(place):
        say(f"{place.name} is not as `promptrank build` wrote it: edited, or damaged")
    return _file(opened, place, (), say)


@contextmanager
def request_file(
    opened: OpenTask, requests: str | Path | None, *, splits: set[str] | None, say: Say
) -> Iterator[RequestFile]:
    """The given request file, or one built from the task's tables that is gone afterwards.

    One in an object store is fetched, with the items beside it; the copy is gone afterwards too.

    Raises:
        DataError: the given file does not exist.
    """
    if requests is not None and is_object(requests):
        with (
            local_copy(requests, (".items.arrow", ".config.json")) as copy,
            request_file(opened, copy, splits=splits, say=say) as file,
        ):
            yield file
        return
    if requests is not None:
        file = given_file(opened, requests, say)
        own = OwnItemTable(opened)
        with own.kept():
            yield replace(file, own_items=own.opened, stamp=own.stamp)
        return
    with scratch() as folder:
        path = folder / "requests.parquet"
        say("building requests")
        built = build_file(opened, path, splits=splits, say=say)
        for note in built.notes:
            say(note)
        yield _file(opened, path, tuple(error_rows(built.errors_path)), say)


def _file(opened: OpenTask, path: Path, set_aside: tuple[ErrorRow, ...], say: Say) -> RequestFile:
    own = OwnItemTable(opened)
    corrections = corrections_on(opened, path, say)
    return RequestFile(path, opened.task, own.opened, set_aside, own.stamp, corrections)


def error_rows(path: Path) -> Iterator[ErrorRow]:
    """The rows of an errors file.

    Raises:
        DataError: it is damaged.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{path}:{number}"
            row = json_object(line, where, then="build again")
            names = ("request_id", "candidate_id", "stage", "reason", "message")
            given = {name: row.get(name) for name in names}
            yield checked(ErrorRow, given, where, what="an error row", then="build again")
