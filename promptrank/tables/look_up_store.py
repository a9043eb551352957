"""The tables of look-ups as they were at one time: read once, kept on disk, asked by cursors."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from promptrank.basics.door import kept
from promptrank.basics.scratch import scratch
from promptrank.basics.sql import Connection, explain, run
from promptrank.errors import DataError, InputError
from promptrank.requests.asked import AskedIds, Found
from promptrank.requests.items import ItemTable
from promptrank.schema.task import Task
from promptrank.tables import look_up_views as views
from promptrank.tables.assemble import chunks, open_snapshots
from promptrank.tables.events import make_events
from promptrank.tables.loading import database
from promptrank.tables.look_up_batch import AskedBatch, Times
from promptrank.tables.row_tables import read_rows
from promptrank.tables.statistics import make_sums

_MEMORY = "1GB"
_LATEST = 1e11  # unix seconds: in the year 5138; milliseconds have passed it since 1973


@dataclass(frozen=True, slots=True)
class ReadTables:
    """What was read for look-ups.

    Attributes:
        time: unix seconds, just before the first file was read.
        seconds: that it took.
        rows: that can be used, of the task's own log.
        size: bytes on disk of what is kept.
        memory: that queries hold at most.
    """

    time: float
    seconds: float
    rows: int
    size: int
    memory: str = _MEMORY


class TableReading:
    """The connection by which files are being read, for whoever would stop that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._con: Connection | None = None

    @contextmanager
    def by(self, con: Connection) -> Iterator[None]:
        with self._lock:
            self._con = con
        try:
            yield
        finally:
            with self._lock:  # it is closed next
                self._con = None

    def stop(self) -> None:
        with self._lock:
            if self._con is not None:
                self._con.interrupt()


class LookUpStore:
    """The tables as they were at one time."""

    def __init__(self, task: Task, root: Path, reading: TableReading) -> None:
        began = time.time()
        self._closing = ExitStack()
        self.users, self.retired = 0, False
        try:
            folder = self._closing.enter_context(scratch())
            file = folder / "kept.duckdb"
            with database(root, memory=_MEMORY) as (con, _), reading.by(con):
                views.attach(con, file)
                plan = read_rows(con, task, root, folder)
                make_sums(con, plan)
                rows, first, last = _counted(con, task.form, "pr.rows WHERE fault IS NULL")
                if task.history is not None and plan.timed:
                    make_events(con, plan, every=True)
                    _, earlier, later = _counted(con, "history", "pr.events")
                    first, last = min(first, earlier), max(last, later)
                views.keep(con, plan)
            self._con = self._closing.enter_context(kept(file, memory=_MEMORY))
            self._plan = views.looking_up(plan)
            self._known = _times_of_sums(self._con, folder) if plan.timed else np.empty(0)
            items = plan.entities[plan.table_of("item") or ""]
            self._snapshots = open_snapshots(plan, ItemTable(items.path))
        except BaseException:
            self._closing.close()
            raise
        # Where times are order numbers, now is the next one.
        self._next = last + 1 if task.ordered_only else None
        self._clocked = plan.timed and not task.ordered_only
        self._first, self._last = first, last
        self._cursors: queue.LifoQueue[Connection] = queue.LifoQueue()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        self.read = ReadTables(began, time.time() - began, rows, size)

    def check_times(self, asked: AskedIds) -> None:
        """Hold a request's times against the clock of the tables.

        In milliseconds everything would lie before the request, what came after it too.

        Raises:
            DataError: a time that cannot be unix seconds, where those of the tables can.
        """
        if not self._clocked:
            return
        events = {f"history[{i}].time": event.time for i, event in (asked.events or {}).items()}
        for where, at in {"time": asked.time, **events}.items():
            if at is not None and at > _LATEST >= self._last:
                raise DataError(
                    f"{where}: {at:.0f} lies far ahead; unix seconds, not milliseconds?"
                )
        if asked.time is not None and asked.time < 0 <= self._first:
            raise DataError(
                f"time: {asked.time:g} is before 1970, and so before the tables; give unix seconds"
            )

    def find(self, asked: list[AskedIds], now: float) -> list[Found]:
        """What is found for requests that all carry a history, or of which none does."""
        batch = AskedBatch(self._plan, asked, now if self._next is None else self._next)
        with self._cursor() as cursor:
            views.put(
                cursor,
                {
                    "requests": batch.requests(),
                    "asked": batch.items(),
                    "latest": batch.latest(self._known),
                },
            )

            def read(sql: str, where: str, size: int) -> pa.RecordBatchReader:
                return cursor.sql(sql).to_arrow_table().to_reader(max_chunksize=size)

            made = chunks(read, self._plan, self._snapshots, batch.carried())
            return batch.found(made, self._snapshots.items)

    @contextmanager
    def _cursor(self) -> Iterator[Connection]:
        """A cursor with views; one that an error has met is not used again."""
        try:
            try:
                cursor = self._cursors.get_nowait()
            except queue.Empty:
                cursor = self._con.cursor()
                views.make_views(cursor, self._plan)
            yield cursor
        except (duckdb.Error, DataError) as error:  # no memory, or no disk
            raise InputError(f"look-up: {explain(error)}") from error
        self._cursors.put(cursor)

    def close(self) -> None:
        while not self._cursors.empty():
            self._cursors.get_nowait().close()
        self._closing.close()


def _times_of_sums(con: Connection, folder: Path) -> Times:
    """The times at which the sums over everything change: on disk, mapped into memory."""
    path = folder / "known.npy"
    sql = "SELECT known FROM kept.sums_all ORDER BY known"
    np.save(path, con.sql(sql).to_arrow_table()["known"].to_numpy(), allow_pickle=False)
    known: Times = np.load(path, mmap_mode="r", allow_pickle=False)
    return known


def _counted(con: Connection, where: str, rows: str) -> tuple[int, float, float]:
    """How many rows there are, and the first and the latest time among them, or 0."""
    sql = f"SELECT count(*), min(t), max(t) FROM {rows}"
    count, first, last = run(con, sql, where).fetchone() or (0, None, None)
    return int(count), float(first or 0.0), float(last or 0.0)
