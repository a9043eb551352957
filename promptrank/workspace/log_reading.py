"""A server's log, read back: each request once, and what was said of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from promptrank.errors import DataError, ErrorRow
from promptrank.records import Request
from promptrank.requests.read import read_requests
from promptrank.runs.log_files import LogFiles
from promptrank.scores.origin import Origin
from promptrank.scores.read import read_scores
from promptrank.scores.scores import Scores
from promptrank.workspace.tasks import OpenTask


@dataclass(frozen=True, slots=True)
class LoggedScores:
    """What one origin said, each request once.

    Attributes:
        table: the columns of `promptrank.scores.columns`.
    """

    origin: Origin
    table: pa.Table


def logged_requests(
    opened: OpenTask, files: LogFiles, errors: Callable[[ErrorRow], None]
) -> Iterator[Request]:
    """The requests of a log, oldest first.

    A request that was sent again under an id that was there is left out: the first one was
    answered first. Memory: the ids.

    Args:
        errors: is given rows that cannot be read, as where a file was damaged.
    """
    seen: set[str] = set()
    for path in files.requests:
        for request in read_requests(path, task=opened.task, errors=errors):
            if request.request_id not in seen:
                seen.add(request.request_id)
                yield request


def logged_scores(opened: OpenTask, files: LogFiles, ranker: str) -> list[LoggedScores]:
    """The scores of a log by where they come from, oldest first; the first of each request.

    Args:
        ranker: ``served``, or the name of a shadow.

    Raises:
        DataError: there are none, or files that are not what was written.
    """
    paths = files.scores.get(ranker, ())
    if not paths:
        known = ", ".join(files.scores) or "none"
        raise DataError(f"no scores of {ranker!r} in this log of {files.task}; there are: {known}")
    seen: set[str] = set()
    by_origin: dict[str, tuple[Origin, list[pa.Table]]] = {}
    for path in paths:
        scores = read_scores(path, opened.task, opened.name)
        names = set(pc.unique(scores.table.column("request_id")).to_pylist())
        table = scores.table
        if again := names & seen:
            ids = pa.array(sorted(again), pa.string())
            table = table.filter(pc.invert(pc.is_in(table.column("request_id"), value_set=ids)))
        seen |= names
        key = scores.origin.to_json()
        by_origin.setdefault(key, (scores.origin, []))[1].append(table)
    return [
        LoggedScores(origin, pa.concat_tables(tables, promote_options="default"))
        for origin, tables in by_origin.values()
    ]


def together(logged: Sequence[LoggedScores]) -> Scores:
    """Scores of several origins as one; of its origin is known what all of them share."""
    first = logged[0].origin.as_dict()
    others = [each.origin.as_dict() for each in logged[1:]]
    shared = {k: v for k, v in first.items() if all(o.get(k) == v for o in others)}
    origin = Origin(**{"ranker": "served", **shared})
    tables = [each.table for each in logged]
    return Scores(pa.concat_tables(tables, promote_options="default"), origin)


def task_of(folder: Path, named: str | None, tasks: Sequence[str]) -> list[str]:
    """The tasks of a log that are meant: the one that is named, else all.

    Raises:
        DataError: nothing is in it.
    """
    if not tasks:
        raise DataError(f"{folder}: no log; `promptrank serve --log {folder}` writes one")
    return [named] if named is not None else list(tasks)
