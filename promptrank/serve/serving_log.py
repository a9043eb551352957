"""What was asked and what was answered, into files; no answer ever waits for it.

Answers put records into a bounded buffer, from which a thread of its own writes files. A record
that finds the buffer full is dropped and counted.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as Total

from promptrank.basics.plurals import counted
from promptrank.basics.telling import Say, silent
from promptrank.errors import InputError
from promptrank.runs.log_files import open_log
from promptrank.serve.log_records import LogRecord, LogStream, Staged

_GATHER = 0.5  # seconds in which records are gathered before they are turned into columns


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
        except (FileExistsError, NotADirectoryError):
            why = "there is a file in its place; name a folder, which is made where there is none"
            raise InputError(f"--log {folder}: {why}") from None
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
        """Write what is held, and tell what was written, if anything; safe to call twice."""
        with self._more:
            if self._closed:
                return
            self._closed = True
            self._more.notify()
        self._thread.join()
        lost = ", ".join(f"{n:,} dropped ({why})" for why, n in sorted(self.dropped.items()))
        told = f"log: {counted(self.written, 'ranking')} written to {self.folder}"
        if self.written or lost:
            self._say(f"{told}; {lost}" if lost else told)

    def _drop(self, why: str, rankings: int) -> None:
        with self._more:
            self.dropped[why] += rankings
        if (total := self._totals(why)) is not None:
            total.inc(rankings)

    def _is_full(self) -> bool:
        return self._rows >= self._bounds.rows or self._bytes >= self._bounds.bytes

    def _run(self) -> None:
        """Turn records into columns as they come, and write these when they fill a file."""
        staged, due = Staged(), 0.0
        gather = min(_GATHER, self._bounds.seconds)
        while True:
            with self._more:
                left = due - time.monotonic() if staged.records else None
                self._more.wait_for(lambda: self._waiting or self._closed, left)
                if self._waiting:
                    self._more.wait_for(lambda: self._is_full() or self._closed, gather)
                records, self._waiting = self._waiting, []
                full, closed = self._is_full(), self._closed
            if records and not staged.records:
                due = time.monotonic() + self._bounds.seconds
            self._stage(staged, records)
            if staged.records and (full or closed or time.monotonic() >= due):
                self._write(staged)
                with self._more:
                    self._held -= staged.bytes
                    self._bytes -= staged.bytes
                    self._rows -= staged.rows
                staged = Staged()
            # By what was seen above: what has been staged since then is not written yet.
            with self._more:
                if closed and not self._waiting:
                    return

    def _stage(self, staged: "Staged", records: list[LogRecord]) -> None:
        groups: dict[tuple[str, str | None, int], list[LogRecord]] = {}
        for record in records:
            staged.records += 1
            staged.bytes += record.size
            staged.rows += len(record.ranking.request.candidates)
            name = (record.name, record.shadow, record.ranking.request_id)
            if name in staged.ids:  # in a file it comes once
                self._drop("same_id", 1)
                continue
            staged.ids.add(name)
            key = (record.name, record.shadow, id(record.origin))  # of one ranker, one object
            groups.setdefault(key, []).append(record)
        for key, mine in groups.items():
            stream = staged.streams.setdefault(key, LogStream(mine[0].origin))
            try:
                stream.take(mine)
            except Exception as error:  # no answer shall suffer for what cannot be written
                self._lose(key[0], len(mine), error)

    def _write(self, staged: "Staged") -> None:
        """Write what is staged; what cannot be written is counted, and the server goes on."""
        for (name, shadow, _), stream in staged.streams.items():
            try:
                stream.write(self.folder, name, shadow)
            except Exception as error:  # a full disk, say
                self._lose(name, stream.rankings, error)
            else:
                self.written += stream.rankings
                if (total := self._totals("written")) is not None:
                    total.inc(stream.rankings)

    def _lose(self, name: str, rankings: int, error: Exception) -> None:
        self._drop("failed", rankings)
        self._say(f"log: {rankings} rankings of {name} are lost: {error}")
