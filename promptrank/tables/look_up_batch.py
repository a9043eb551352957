"""Some requests of a look-up: as rows for the statements of `build`, and back from its rows."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from promptrank.errors import ErrorRow, RowError
from promptrank.records import EMPTY, Event, Fields, Item, Subject
from promptrank.requests.asked import ROLES, AskedIds, AskedItem, Found, FoundItem
from promptrank.requests.format import Rows
from promptrank.requests.items import ItemTable
from promptrank.requests.read import history_of, subject_of
from promptrank.requests.row_parts import rows_in
from promptrank.tables.build_plan import Plan
from promptrank.tables.carried import Carried
from promptrank.tables.look_up_views import ASKED, LATEST, REQUESTS

Times = np.ndarray[tuple[int], np.dtype[np.float64]]


class AskedBatch:
    """Requests that are looked up together; all of them carry a history, or none does."""

    def __init__(self, plan: Plan, asked: list[AskedIds], now: float) -> None:
        """Put the requests into the order that histories are walked in: by member and time.

        Args:
            now: the time of requests that have none.
        """
        self._plan, self._asked = plan, asked
        self._times = [each.time if each.time is not None else now for each in asked]

        def order(place: int) -> tuple[bool, str, float, int]:
            member = asked[place].member_id
            return member is None, member or "", self._times[place], place

        self._order = sorted(range(len(asked)), key=order)

    def requests(self) -> pa.Table:
        """The rows of ``temp.requests``; a request is called by its place."""
        split = self._plan.task.split
        # A live request sees what the last part of a split by field sees: everything.
        part = "test" if split is not None and split.by == "field" else None
        rows = []
        for number, place in enumerate(self._order):
            each, time = self._asked[place], self._times[place]
            rows.append(
                {
                    "request_no": number,
                    "request_id": str(place),
                    "member_id": each.member_id,
                    "query_id": each.query_id,
                    "source_id": each.source_id,
                    "t": time if self._plan.timed else None,
                    "lost": 0,
                    "moment": self._moment(time),
                    "split": each.split or part,
                    "stored": each.events is None,
                }
            )
        return pa.Table.from_pylist(rows, schema=REQUESTS)

    def items(self) -> pa.Table:
        """The rows of ``temp.asked``; an item is called by its list (``c``, ``e``) and place."""
        rows = []
        for number, place in enumerate(self._order):
            for name, item, time in self._named(place):
                rows.append(
                    {
                        "request_no": number,
                        "cand_id": name,
                        "item_id": item.item_id,
                        "moment": self._moment(time),
                    }
                )
            # The walk goes by candidates: a request without any would not be met.
            rows.append({"request_no": number, "cand_id": "", "moment": self._moment(0.0)})
        return pa.Table.from_pylist(rows, schema=ASKED)

    def latest(self, known: Times) -> pa.Table:
        """The row of ``temp.latest`` for each moment, and for the start of each window.

        Args:
            known: the times at which the sums over everything change, sorted.
        """
        if not self._plan.timed:
            return LATEST.empty_table()
        windows = {stat.within or 0.0 for stat in self._plan.summed.values()} | {0.0}
        times = {*self._times, 0.0}
        for place in self._order:
            times |= {time for _, _, time in self._named(place)}
        ats = [(self._moment(time) or 0.0) - within for time in times for within in windows]
        before = np.unique(np.searchsorted(known, np.array(ats), "left")) - 1
        return pa.table({"known": known[before[before >= 0]]}, schema=LATEST)

    def _named(self, place: int) -> Iterator[tuple[str, AskedItem, float]]:
        each, time = self._asked[place], self._times[place]
        for i, item in each.candidates.items():
            yield f"c{i}", item, time
        for i, item in (each.events or {}).items():
            yield f"e{i}", item, item.time if item.time is not None else time

    def _moment(self, time: float) -> float | None:
        if not self._plan.timed:
            return None
        return time - self._plan.lag if self._plan.lag else time

    def carried(self) -> Carried:
        """What the requests hold themselves."""
        subjects = {
            role: [self._asked[place].subjects.get(role) for place in self._order] for role in ROLES
        }
        items: dict[tuple[str, str], Fields] = {
            (str(place), name): item.fields
            for place in self._order
            for name, item, _ in self._named(place)
            if item.fields is not None
        }
        return Carried(subjects, items)

    def found(self, tables: Iterable[pa.Table], items: ItemTable) -> list[Found]:
        """What stands in the rows that were made, by place."""
        found: dict[int, Found] = {}
        for table in tables:
            for batch in table.combine_chunks().to_batches():
                rows = rows_in(batch)
                names = rows["request_id"]
                starts = [i for i, n in enumerate(names) if i == 0 or names[i - 1] != n]
                for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
                    found[int(names[start])] = self._one_found(rows, start, end, items)
        return [found[place] for place in range(len(self._asked))]

    def _one_found(self, rows: Rows, start: int, end: int, items: ItemTable) -> Found:
        asked = self._asked[int(rows["request_id"][start])]

        def item_of(item_id: str, inline: Any, row: Any, time: float | None) -> Item:
            if inline is not None:
                return Item(item_id, inline)
            return items.row(row)

        time = rows["time"][start]
        subject = subject_of(rows, start, item_of, time)
        history: tuple[Event, ...] = ()
        if asked.events is None:
            history, _ = history_of(rows["history"][start], "", time, item_of, _raise)
        placed: dict[str, dict[int, FoundItem]] = {"c": {}, "e": {}}
        for i in range(start, end):
            if name := rows["candidate_id"][i]:
                row = rows["item_row"][i]
                placed[name[0]][int(name[1:])] = FoundItem(
                    items.row(row) if row is not None else None,
                    rows["stats"][i] or EMPTY,
                    rows["baseline"][i] or EMPTY,
                )
        return Found(
            time, subject, history, placed["c"], placed["e"], self._unknown(asked, subject)
        )

    def _unknown(self, asked: AskedIds, subject: Subject) -> tuple[str, ...]:
        """Ids whose table has no row for them: then its key is None among the fields."""
        fields = {
            "member": subject.member,
            "query": subject.query,
            "source": subject.source.fields if subject.source is not None else None,
        }
        unknown = []
        for role in ROLES:
            name = self._plan.table_of(role)
            key = self._plan.task.tables[name].key if name is not None else None
            named = getattr(asked, f"{role}_id") is not None
            if key is not None and named and (fields[role] or EMPTY).get(key) is None:
                unknown.append(f"{role}_id")
        return tuple(unknown)


def _raise(row: ErrorRow) -> None:
    raise RowError(row.reason, row.message)
