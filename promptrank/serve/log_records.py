"""What goes into a log: a ranking as a record, and records in the columns that are written."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from promptrank.ranking.columns import columns_of
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.as_rows import request_rows
from promptrank.runs.log_files import (
    SERVED,
    SERVED_AT,
    WITHOUT_POLICY,
    StagedRequests,
    write_logged_scores,
)
from promptrank.schema.task import Task
from promptrank.scores.columns import schema_of
from promptrank.scores.origin import Origin


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One ranking.

    Attributes:
        name: the task's.
        task: whose questions were answered.
        answers: whether scores hold answers to them.
        origin: where the scores come from.
        ranking: with the request that was ranked, under the id that it is logged by.
        size: bytes of the body it came in.
        shown: so many of the candidates, the first ones, were answered; None for all.
        shadow: name of the shadow whose scores they are; None for those that were answered.
        at: unix seconds.
        policy: whether policy steps ran.
    """

    name: str
    task: Task
    answers: bool
    origin: Origin
    ranking: Ranking
    size: int
    shown: int | None = None
    shadow: str | None = None
    at: float = 0.0
    policy: bool = True


class LogStream:
    """Rankings of one origin, in columns: few objects, so that Python has not to look at many.

    Attributes:
        rankings: that were taken in.
    """

    def __init__(self, origin: Origin) -> None:
        """Take nothing yet."""
        self.rankings = 0
        self._origin = origin
        self._requests = StagedRequests()
        self._scores: list[pa.RecordBatch] = []

    def take(self, records: list[LogRecord]) -> None:
        """Take records of this origin in: all of them with their scores, or none."""
        first = records[0]
        schema = schema_of(first.task, answers=first.answers)
        scores = columns_of([record.ranking for record in records], schema)
        if first.shadow is None:
            self._requests.add([request_rows(_as_served(record)) for record in records])
        self._scores.append(scores)
        self.rankings += len(records)

    def write(self, folder: Path, name: str, shadow: str | None) -> None:
        """Write what was taken in, as a task's; where that fails, nothing of it stays."""
        if not self.rankings:
            return
        # First: requests without scores would look like requests that nothing could be scored of.
        scores = write_logged_scores(folder, name, shadow or SERVED, self._scores, self._origin)
        try:
            self._requests.write(folder, name)
        except BaseException:
            scores.unlink(missing_ok=True)
            raise


@dataclass(slots=True)
class Staged:
    """What goes into the next files.

    Attributes:
        records, rows, bytes: of which it is made: rankings, candidates, bytes of bodies.
        ids: task, shadow and request, each of which comes once in a file.
        streams: by task, shadow and origin.
    """

    records: int = 0
    rows: int = 0
    bytes: int = 0
    ids: set[tuple[str, str | None, str]] = field(default_factory=set)
    streams: dict[tuple[str, str | None, int], LogStream] = field(default_factory=dict)


def _as_served(record: LogRecord) -> Request:
    """The request, with what was answered: places, their probabilities, scores and the time."""
    request = record.ranking.request
    by_id = {scored.candidate_id: scored for scored in record.ranking.scored}
    candidates = []
    for candidate in request.candidates:
        scored = by_id.get(candidate.candidate_id)
        shown = scored is not None and _has_place(record, scored.rank)
        candidates.append(
            replace(
                candidate,
                position=scored.rank if scored is not None and shown else None,
                propensity=scored.propensity if scored is not None and shown else None,
                logged_score=scored.score if scored is not None else None,
            )
        )
    meta = {**request.meta, SERVED_AT: record.at or time.time()}
    if not record.policy:
        meta[WITHOUT_POLICY] = True
    return replace(request, candidates=tuple(candidates), meta=meta)


def _has_place(record: LogRecord, rank: int) -> bool:
    """Whether what has this rank was answered at a place; pairs that are scored have none."""
    return record.policy and (record.shown is None or rank <= record.shown)
