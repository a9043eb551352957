"""Look-ups: what a task's tables hold of a request's ids, as of its time.

What is found for a member at a time is what `promptrank.tables.build` writes for a request of that
member at that time: the same statements and the same walk, over tables that were read once.
"""

import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa

from promptrank.basics.sql import Connection, explain, run
from promptrank.errors import DataError, InputError
from promptrank.requests.asked import AskedIds, Found, asked_of
from promptrank.requests.dicts import request_from_dict
from promptrank.requests.filled import LookedUp, WrongRequest, filled
from promptrank.requests.items import ItemTable
from promptrank.schema.task import Task
from promptrank.tables import look_up_views as views
from promptrank.tables.assemble import chunks, open_snapshots
from promptrank.tables.events import make_events
from promptrank.tables.loading import database
from promptrank.tables.look_up_batch import AskedBatch
from promptrank.tables.row_tables import read_rows
from promptrank.tables.statistics import make_sums

_AT_ONCE = 256  # requests: a part of what is walked at a time
_MEMORY = "1GB"


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


class LookUp:
    """A task's tables, read once; several threads may look things up at once.

    What changes in the files later is not seen: open it again. It holds at most 1 GB of memory for
    its queries, beside memory-mapped snapshots and the latest 65,536 items asked for; everything
    lies in a scratch folder, which goes when it is closed.

    Attributes:
        read: what was read, and when.
    """

    read: ReadTables

    def __init__(self, task: Task, root: Path) -> None:
        """Read the tables.

        Args:
            root: folder that the task's paths are relative to.

        Raises:
            DataError: tables that cannot be used at all.
        """
        began = time.time()
        self._closing = ExitStack()
        try:
            con, folder = self._closing.enter_context(database(root, memory=_MEMORY))
            plan = read_rows(con, task, root, folder)
            make_sums(con, plan)
            rows, self._last = _counted(con, task.form, "pr.rows WHERE fault IS NULL")
            if task.history is not None and plan.timed:
                make_events(con, plan, every=True)
                self._last = max(self._last, _counted(con, "history", "pr.events")[1])
            views.keep_sorted(con, plan)
            self._con, self._plan = con, views.looking_up(plan)
            items = plan.entities[plan.table_of("item") or ""]
            self._snapshots = open_snapshots(plan, ItemTable(items.path))
        except BaseException:
            self._closing.close()
            raise
        self._cursors: queue.LifoQueue[Connection] = queue.LifoQueue()
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        self.read = ReadTables(began, time.time() - began, rows, size)

    def look_up(self, request: Mapping[str, Any]) -> LookedUp:
        """Fill in a request that is a dict, as of its time, or of now.

        Raises:
            DataError: a dict that is no request, or one about a query or a source that is unknown.
        """
        return next(self.look_up_many([request]))

    def look_up_many(self, requests: Sequence[Mapping[str, Any]]) -> Iterator[LookedUp]:
        """The same for several requests, which are looked up together; those without ids are not.

        Raises:
            WrongRequest: the first one that is wrong.
        """
        asked: list[AskedIds] = []
        place = 0
        try:
            for data in requests:
                place = len(asked)
                asked.append(asked_of(data))
            named = [i for i, each in enumerate(asked) if not each.names_nothing]
            found = dict(zip(named, self.find([asked[i] for i in named]), strict=True))
            for place, data in enumerate(requests):
                if place in found:
                    yield filled(data, asked[place], found[place])
                else:
                    yield LookedUp(request_from_dict(data), asked=False)
        except DataError as error:
            raise WrongRequest(place, str(error)) from None

    def find(self, asked: Sequence[AskedIds]) -> list[Found]:
        """What the tables hold of the ids of each request.

        Raises:
            InputError: DuckDB could not, for want of memory or disk.
        """
        now = time.time()
        found: dict[int, Found] = {}
        # Under `as: turns` a member is as of the first stored event that is shown.
        for carried in (False, True):
            places = [i for i, each in enumerate(asked) if (each.events is not None) is carried]
            for start in range(0, len(places), _AT_ONCE):
                part = places[start : start + _AT_ONCE]
                batch = AskedBatch(self._plan, [asked[i] for i in part], self._time(now))
                found |= zip(part, self._found(batch), strict=True)
        return [found[i] for i in range(len(asked))]

    def _time(self, now: float) -> float:
        """The time of a request that has none. Where times are order numbers, the next one."""
        return self._last + 1 if self._plan.task.ordered_only else now

    def _found(self, batch: AskedBatch) -> list[Found]:
        with self._cursor() as cursor:
            views.put(cursor, batch.requests(), batch.items())

            def read(sql: str, where: str, size: int) -> pa.RecordBatchReader:
                return cursor.sql(sql).to_arrow_table().to_reader(max_chunksize=size)

            made = chunks(read, self._plan, self._snapshots, batch.carried())
            return batch.found(made, self._snapshots.items)

    @contextmanager
    def _cursor(self) -> Iterator[Connection]:
        try:
            try:
                cursor = self._cursors.get_nowait()
            except queue.Empty:
                cursor = self._con.cursor()
                views.make_views(cursor, self._plan)
            yield cursor
        except duckdb.Error as error:  # its cursor is let go
            raise InputError(f"look-up: {explain(error)}") from error
        self._cursors.put(cursor)

    def close(self) -> None:
        """Give back memory and disk; safe to call twice, and not while something is looked up."""
        while not self._cursors.empty():
            self._cursors.get_nowait().close()
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()


def _counted(con: Connection, where: str, rows: str) -> tuple[int, float]:
    """How many rows there are, and the latest time among them."""
    row = run(con, f"SELECT count(*), max(t) FROM {rows}", where).fetchone() or (0, None)
    return int(row[0]), float(row[1] or 0.0)
