"""Purging tables with what stands beside them: scores files, request files, and a server's log."""

import os
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from promptrank.basics.digests import file_digest
from promptrank.basics.owner import owned
from promptrank.basics.seals import config_beside, read_sealed
from promptrank.errors import DataError
from promptrank.purging.exchange import clear_made, exchange, finish, made_for, make
from promptrank.purging.proof import files_below
from promptrank.purging.purge_runs import purge_run
from promptrank.purging.purged_subject import PurgedSubject, as_id
from promptrank.purging.removed import Removed
from promptrank.purging.tables_without import Without, row_of, tables_in, write_without
from promptrank.requests.format import errors_path_of
from promptrank.requests.sampling import requests_digest
from promptrank.runs.run_identity import RUN
from promptrank.runs.scored_file import partial_of

_TABLES = (".parquet", ".jsonl")


def purge_scores(
    path: Path, subject: PurgedSubject, requests: Collection[str], *, dry: bool
) -> Removed:
    """Remove a person from a scores file, and from the errors and the config beside it.

    Raises:
        InputError: somebody writes it.
        DataError: no such file.
    """
    _check(path)
    removed = Removed(path)
    with owned(path, "purge", name=path.stem):
        theirs = requests_in(path, subject) | set(requests)
        lost = _exchanged(path, subject, theirs, removed, "row of scores", dry)
        if (partial_of(path) / RUN).is_file():
            unfinished = purge_run(partial_of(path), subject, theirs, dry=dry)
            removed.amounts += unfinished.amounts
    removed.requests = {row["request_id"] for row in lost.theirs}
    return removed


def purge_requests(path: Path, subject: PurgedSubject, *, dry: bool) -> Removed:
    """Remove a person's requests from a request file, and from the errors and config beside it.

    A request in which they are only a candidate stays; see `promptrank.purging.proof`.

    Raises:
        InputError: somebody writes it.
        DataError: no such file.
    """
    _check(path)
    removed = Removed(path)
    with owned(path, "purge", name=path.stem):
        theirs = requests_in(path, subject)
        whole = PurgedSubject(subject.id)
        lost = _exchanged(path, whole, theirs, removed, "candidate", dry)
    removed.requests = {name for row in lost.theirs if (name := as_id(row.get("request_id")))}
    if removed.requests:
        removed.notes.append(
            f"{path.name} is another file now: a run over it needs another folder, with --since"
        )
    return removed


def purge_log(folder: Path, subject: PurgedSubject, *, dry: bool) -> Removed:
    """Remove a person from what a server has logged, while it goes on logging.

    Raises:
        DataError: no such log.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such log; `promptrank serve --log` writes one")
    removed = Removed(folder)
    places = [path for path in files_below(folder) if path.name[0] != "."]
    tables = [path for path in places if path.suffix in _TABLES]
    if not dry:
        for path in tables:
            finish(_intent(path))
        clear_made(folder)
    for place in sorted({path.parent for path in tables}):
        mine = [path for path in tables if path.parent == place]
        # Ids of requests are told apart within a task; scores may lie in another file.
        theirs = set[str]().union(*(requests_in(path, subject) for path in mine))
        for path in mine:
            _purge_logged(path, subject, theirs, removed, dry)
    return removed


def _purge_logged(
    path: Path, subject: PurgedSubject, theirs: set[str], removed: Removed, dry: bool
) -> None:
    is_scores = path.name.startswith("scores-")
    whole = subject if is_scores else PurgedSubject(subject.id)
    with owned(path, "purge"):
        what = "row of scores" if is_scores else "logged candidate"
        lost = _exchanged(path, whole, theirs, removed, what, dry)
        if lost and not lost.kept and not dry:
            path.unlink()  # a log without rows would be a file that nobody can join
    removed.requests |= {name for row in lost.theirs if (name := as_id(row.get("request_id")))}


def requests_in(path: Path, subject: PurgedSubject) -> set[str]:
    """Ids of a person's requests in a table that says whom requests are for.

    Whom a request is for stands in its first row.
    """
    theirs: set[str] = set()
    if path.suffix == ".parquet":
        for table in tables_in(path):
            theirs |= subject.requests_in(table)
        return theirs
    with path.open("rb") as lines:
        for row in map(row_of, lines):
            if row is not None and subject.is_theirs(row, ()):
                name = as_id(row.get("request_id"))
                theirs |= {name} if name else set()
    return theirs


def identity_of(path: Path) -> str:
    """By what a run knows a request file; see `promptrank.runs.sharded_run`."""
    return requests_digest(path)


def _check(path: Path) -> None:
    if path.suffix not in _TABLES or not path.is_file():
        there = "ends in neither .parquet nor .jsonl" if path.is_file() else "there is no such file"
        raise DataError(f"{path}: {there}; name a scores file or a request file")


def _intent(path: Path) -> Path:
    return path.with_name(f".{path.name}.purge.json")


def _exchanged(
    path: Path,
    subject: PurgedSubject,
    theirs: Collection[str],
    removed: Removed,
    what: str,
    dry: bool,
) -> Without:
    """A table and its companions without a person, put in their place where that changes them."""
    if not dry:
        finish(_intent(path))
    lost: dict[Path, Without] = {}

    def write(each: Path, place: Path) -> None:
        lost[each] = write_without(each, place, subject, theirs)

    paths = [path, *(each for each in [errors_path_of(path)] if each.is_file() and each != path)]
    for each in paths:
        write(each, Path(os.devnull))
    changed = [each for each in paths if lost[each]]
    for each in changed:
        rows = len(lost[each].theirs) + len(lost[each].items)
        removed.add(what if each == path else "error row", rows)
    if changed and not dry:
        for each in changed:
            make(each, partial(write, each))
        exchange(_intent(path), changed, dict(_config(path, changed, lost)))
    return lost[path]


def _config(
    path: Path, changed: list[Path], lost: dict[Path, Without]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The config beside a table, with the digests and counts that hold now."""
    config = config_beside(path)
    if not config.is_file():
        return
    about = read_sealed(config, then="write the file again, or remove the config")
    files, result = about.get("files"), about.get("result")
    if isinstance(files, dict):
        for each in changed:
            if each.name in files:
                files[each.name] = file_digest(made_for(each))
    if isinstance(result, dict):
        rows = [*lost[path].theirs, *lost[path].items]
        gone = {
            "candidates": len(rows),
            "requests": len({row["request_id"] for row in lost[path].theirs}),
            "errors": sum(len(lost[each].theirs) + len(lost[each].items) for each in changed[1:]),
        }
        for name, many in gone.items():
            if isinstance(result.get(name), int):
                result[name] -= many
        result["purged"] = result.get("purged", 0) + len(rows)
    yield config, about
