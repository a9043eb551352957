"""Look-ups: what a task's tables hold of a request's ids, as of its time.

What is found for a member at a time is what `promptrank.tables.build` writes for a request of that
member at that time: the same statements and the same walk, over tables that were read once.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from promptrank.errors import DataError
from promptrank.requests.asked import AskedIds, Found, asked_of
from promptrank.requests.dicts import request_from_dict
from promptrank.requests.filled import LookedUp, WrongRequest, filled
from promptrank.schema.task import Task
from promptrank.tables.look_up_store import LookUpStore, ReadTables, TableReading

_AT_ONCE = 256  # requests: a part of what is walked at a time


class LookUp:
    """A task's tables, read once; several threads may look things up at once.

    What changes in the files is seen after `read_again`. Queries hold at most 1 GB of memory, and
    beside it there are memory-mapped snapshots and the latest 65,536 items asked for. Everything
    lies in a scratch folder, which goes when it is closed.
    """

    def __init__(self, task: Task, root: Path) -> None:
        """Read the tables.

        Args:
            root: folder that the task's paths are relative to.

        Raises:
            DataError: tables that cannot be used at all.
        """
        self._task, self._root = task, root
        self._lock, self._reading = threading.Lock(), TableReading()
        self._store = LookUpStore(task, root, self._reading)

    @property
    def read(self) -> ReadTables:
        """What was read, and when."""
        return self._store.read

    def read_again(self) -> None:
        """Read the files as they are now; until then, and where it fails, the old ones stay.

        For the while it takes as much memory and disk once more.

        Raises:
            DataError: tables that cannot be used at all.
        """
        fresh = LookUpStore(self._task, self._root, self._reading)
        with self._lock:
            self._store, old = fresh, self._store
            old.retired = True
            idle = not old.users
        if idle:
            old.close()

    def stop_reading(self) -> None:
        """Stop the statement by which files are being read, if one is; from any thread.

        That reading fails, and the old tables stay. Between two statements nothing is stopped.
        """
        self._reading.stop()

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
            InputError: DuckDB could not, for want of memory or disk.
        """
        asked: list[AskedIds] = []
        place, store = 0, self._store
        try:
            for data in requests:
                place = len(asked)
                asked.append(asked_of(data))
                store.check_times(asked[-1])
            named = [i for i, each in enumerate(asked) if not each.names_nothing]
            found = dict(zip(named, self._find([asked[i] for i in named]), strict=True))
            for place, data in enumerate(requests):
                if place in found:
                    yield filled(data, asked[place], found[place])
                else:
                    yield LookedUp(request_from_dict(data), asked=False)
        except DataError as error:
            raise WrongRequest(place, str(error)) from None

    def _find(self, asked: Sequence[AskedIds]) -> list[Found]:
        now = time.time()
        found: dict[int, Found] = {}
        with self._held() as store:
            # Under `as: turns` a member is as of the first stored event that is shown.
            for carried in (False, True):
                places = [i for i, each in enumerate(asked) if (each.events is not None) is carried]
                for start in range(0, len(places), _AT_ONCE):
                    part = places[start : start + _AT_ONCE]
                    found |= zip(part, store.find([asked[i] for i in part], now), strict=True)
        return [found[i] for i in range(len(asked))]

    @contextmanager
    def _held(self) -> Iterator[LookUpStore]:
        """The tables of now, which are closed when the last who uses them is done."""
        with self._lock:
            store = self._store
            store.users += 1
        try:
            yield store
        finally:
            with self._lock:
                store.users -= 1
                done = store.retired and not store.users
            if done:
                store.close()

    def close(self) -> None:
        """Give back memory and disk; safe to call twice, and not while something is looked up."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ended: object) -> None:
        self.close()
