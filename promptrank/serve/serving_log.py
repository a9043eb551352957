"""What was asked and what was answered, into files; no answer ever waits for it.

Answers put records into a bounded buffer, from which a thread of its own writes files. A record
that finds the buffer full is dropped and counted.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Total

from promptrank.basics.plurals import counted
from promptrank.basics.telling import Say, silent
from promptrank.errors import InputError
from promptrank.ranking.columns import columns_of
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.as_rows import request_rows
from promptrank.runs.log_files import (
    SERVED,
    SERVED_AT,
    open_log,
    write_logged_scores,
    write_requests,
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


@dataclass(frozen=True, slots=True)
class LogBounds:
    """When a file is full, and what is held at most.

    Attributes:
        rows: candidates of one file.
        bytes: of bodies whose requests go into one file.
        seconds: from the first record of a file to the file; what a killed process loses at most.
        held: bytes of bodies whose requests are not written yet; further ones are dropped.
    """

    rows: int = 20_000
    bytes: int = 16 << 20
    seconds: float = 60.0
    held: int = 64 << 20


class ServingLog:
    """A log that is being written; `put` from any thread.

    Attributes:
        written: rankings in files.
        dropped: reason -> rankings that are in none.
    """

    def __init__(
        self,
        folder: Path,
        bounds: LogBounds = LogBounds(),
        say: Say = silent,
    ) -> None:
        """Begin a log.

        Raises:
            InputError: no folder can be made there.
        """
        try:
            open_log(folder)
        except OSError as error:
            raise InputError(f"--log {folder}: no folder there ({error.strerror})") from None
        self.folder, self.written = folder, 0
        self.dropped: Counter[str] = Counter()
        self._bounds, self._say = bounds, say
        self._more = threading.Condition()
        self._waiting: list[LogRecord] = []
        self._held = self._rows = self._bytes = 0
        self._closed = False
        self._totals: Callable[[str], Any] = lambda outcome: None
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def count_in(self, registry: CollectorRegistry) -> None:
        """Tell Prometheus from now on."""
        total = Total(
            "promptrank_log_rankings",
            "Rankings of the log: written, or dropped for a reason.",
            ("outcome",),
            registry=registry,
        )
        self._totals = lambda outcome: total.labels(outcome)

    def put(self, record: LogRecord) -> None:
        """Take a record in, or count it as dropped; never waits."""
        with self._more:
            if self._closed or self._held + record.size > self._bounds.held:
                self._drop("closed" if self._closed else "full", 1)
                return
            self._waiting.append(record)
            self._held += record.size
            self._rows += len(record.ranking.request.candidates)
            self._bytes += record.size
            if len(self._waiting) == 1 or self._is_full():
                self._more.notify()

    def close(self) -> None:
        """Write what is held, and tell what was written; safe to call twice."""
        with self._more:
            if self._closed:
                return
            self._closed = True
            self._more.notify()
        self._thread.join()
        lost = ", ".join(f"{n:,} dropped ({why})" for why, n in sorted(self.dropped.items()))
        told = f"log: {counted(self.written, 'ranking')} written to {self.folder}"
        self._say(f"{told}; {lost}" if lost else told)

    def _drop(self, why: str, rankings: int) -> None:
        self.dropped[why] += rankings
        if (total := self._totals(why)) is not None:
            total.inc(rankings)

    def _is_full(self) -> bool:
        return self._rows >= self._bounds.rows or self._bytes >= self._bounds.bytes

    def _run(self) -> None:
        while True:
            with self._more:
                self._more.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                self._more.wait_for(lambda: self._is_full() or self._closed, self._bounds.seconds)
                records, self._waiting = self._waiting, []
                self._rows = self._bytes = 0
            self._write(records)
            with self._more:
                self._held -= sum(record.size for record in records)

    def _write(self, records: list[LogRecord]) -> None:
        """Write a batch; what cannot be written is counted, and the server goes on."""
        streams: dict[tuple[str, str | None, int], list[LogRecord]] = {}
        for record in _once(records, self._drop):
            key = (record.name, record.shadow, id(record.origin))  # of one ranker, one object
            streams.setdefault(key, []).append(record)
        for (name, shadow, _), mine in streams.items():
            try:
                self._write_stream(name, shadow, mine)
            except Exception as error:  # a full disk, say: no answer shall suffer
                self._drop("failed", len(mine))
                self._say(f"log: {len(mine)} rankings of {name} are lost: {error}")
            else:
                self.written += len(mine)
                if (total := self._totals("written")) is not None:
                    total.inc(len(mine))

    def _write_stream(self, name: str, shadow: str | None, records: list[LogRecord]) -> None:
        schema = schema_of(records[0].task, answers=records[0].answers)
        if shadow is None:
            write_requests(self.folder, name, [request_rows(_as_served(r)) for r in records])
        rows = columns_of([record.ranking for record in records], schema)
        write_logged_scores(self.folder, name, shadow or SERVED, rows, records[0].origin)


def _once(records: list[LogRecord], drop: Callable[[str, int], None]) -> list[LogRecord]:
    """Records whose request id comes for the first time: in a file it comes once."""
    first: dict[tuple[str, str | None, str], LogRecord] = {}
    for record in records:
        first.setdefault((record.name, record.shadow, record.ranking.request_id), record)
    if again := len(records) - len(first):
        drop("same_id", again)
    return list(first.values())


def _as_served(record: LogRecord) -> Request:
    """The request, with what was answered: places, their probabilities, scores and the time."""
    request = record.ranking.request
    by_id = {scored.candidate_id: scored for scored in record.ranking.scored}
    candidates = []
    for candidate in request.candidates:
        scored = by_id.get(candidate.candidate_id)
        shown = scored is not None and (record.shown is None or scored.rank <= record.shown)
        candidates.append(
            replace(
                candidate,
                position=scored.rank if scored is not None and shown else None,
                propensity=getattr(scored, "propensity", None) if shown else None,
                logged_score=scored.score if scored is not None else None,
            )
        )
    meta = {**request.meta, SERVED_AT: record.at or time.time()}
    return replace(request, candidates=tuple(candidates), meta=meta)
