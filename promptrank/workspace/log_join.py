"""A log as one request file: what came of its candidates laid on, and parts cut by time."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.errors import DataError, ErrorRow, InputError
from promptrank.records import Request
from promptrank.requests.as_rows import Row, as_one, request_rows, shape_of, tables_of
from promptrank.requests.write import TableWriter
from promptrank.runs.log_files import SERVED_AT, LogFiles
from promptrank.scores.origin import METADATA
from promptrank.workspace.log_reading import logged_requests, logged_scores, together
from promptrank.workspace.tasks import OpenTask

if TYPE_CHECKING:
    from promptrank.tables.log_outcomes import LogOutcomes


@dataclass(frozen=True, slots=True)
class LogParts:
    """Moments at which the parts of a log begin.

    Attributes:
        valid, test: unix seconds; requests before them train.
        window: seconds until a label is known.
    """

    valid: float
    test: float
    window: float

    def of(self, at: float) -> str | None:
        """The part of a request; None where its label was known only in the next part."""
        if at >= self.test:
            return "test"
        end = self.test if at >= self.valid else self.valid
        if at + self.window > end:
            return None
        return "valid" if at >= self.valid else "train"


def scored_by(opened: OpenTask, files: LogFiles, shadow: str) -> set[str]:
    """Ids of the requests that a shadow scored.

    Raises:
        DataError: no such shadow.
    """
    tables = [each.table for each in logged_scores(opened, files, shadow)]
    return {name for table in tables for name in table.column("request_id").to_pylist()}


def served_times(
    opened: OpenTask, files: LogFiles, only: set[str] | None = None
) -> dict[str, float]:
    """Request id -> when it was answered, in unix seconds.

    Args:
        only: leave out requests of other ids.

    Raises:
        DataError: requests that no server logged, or none at all.
    """
    times = {}
    for request in logged_requests(opened, files, _ignore):
        if only is not None and request.request_id not in only:
            continue
        at = request.meta.get(SERVED_AT)
        if not isinstance(at, int | float):
            raise DataError(f"request {request.request_id}: no {SERVED_AT}; no server logged it")
        times[request.request_id] = float(at)
    if not times:
        raise DataError(f"no request of {opened.name} in this log can be joined")
    return times


def parts_at(times: dict[str, float], valid: float, test: float, window: float) -> LogParts:
    """LogParts that hold these shares of the requests, the latest in ``test``.

    Raises:
        InputError: shares that leave nothing to train on.
    """
    if not 0 <= valid < 1 or not 0 <= test < 1 or valid + test >= 1:
        raise InputError(
            f"--valid {valid:g} --test {test:g}: give shares from 0 up to 1, together less than 1"
        )
    order = sorted(times.values())
    last = order[-1] + 1

    def begins(share: float) -> float:
        count = round(len(order) * share)
        return order[len(order) - count] if count else last

    return LogParts(begins(valid + test), begins(test), window)


def joined_requests(
    opened: OpenTask,
    files: LogFiles,
    outcomes: "LogOutcomes | None",
    parts: LogParts | None,
    errors: list[ErrorRow],
    only: set[str] | None = None,
) -> Iterator[Request]:
    """The requests of a log with their labels and their part."""
    for request in logged_requests(opened, files, errors.append):
        if only is not None and request.request_id not in only:
            continue
        at = float(request.meta[SERVED_AT])
        candidates = request.candidates
        if outcomes is not None:
            labelled = []
            for candidate in candidates:
                labels, source = outcomes.labels(request.request_id, at, candidate)
                merged = {**candidate.outcomes, **labels}
                known = source if labels else candidate.label_source
                labelled.append(replace(candidate, outcomes=merged, label_source=known))
            candidates = tuple(labelled)
        split = parts.of(at) if parts is not None else request.split
        yield replace(request, candidates=candidates, split=split)


def write_joined(path: Path, requests: Iterator[Request]) -> Counter[str]:
    """Write a request file; counts of ``requests``, ``candidates``, ``labelled`` and each part.

    Lines are written as they come; a table is made in memory.

    Raises:
        InputError: a table could not hold exactly what was sent.
    """
    counts: Counter[str] = Counter()

    def rows() -> Iterator[list[Row]]:
        for request in requests:
            counts["requests"] += 1
            counts[f"part {request.split or 'none'}"] += 1
            counts["candidates"] += len(request.candidates)
            counts["labelled"] += sum(bool(c.outcomes) for c in request.candidates)
            yield request_rows(request)

    if path.suffix == ".parquet":
        every = list(rows())
        shapes = {shape_of(each) for each in every}
        tables, others = tables_of(every)
        kinds = as_one(tables)
        if others or len(kinds) != 1 or len(shapes) != 1 or None in shapes:
            raise InputError(
                f"{path}: the requests of this log cannot stand in one table without a change "
                f"(fields that some lack, or of several types); write {path.stem}.jsonl"
            )
        with TableWriter(path, kinds[0].schema) as writer:
            writer.write_table(kinds[0])
        return counts
    with TableWriter(path) as writer:
        for each in rows():
            writer.write_rows(each)
    return counts


def write_joined_scores(opened: OpenTask, files: LogFiles, ranker: str, path: Path) -> None:
    """Write all that one ranker said in a log as one scores file."""
    scores = together(logged_scores(opened, files, ranker))
    with TableWriter(
        path, scores.table.schema, metadata={METADATA: scores.origin.to_json()}
    ) as writer:
        writer.write_table(scores.table)


def _ignore(row: ErrorRow) -> None:
    """Rows that cannot be read are told where requests are written."""
