"""Choosing each request's history out of the stream of its member's events."""

from bisect import bisect_left
from collections.abc import Sequence

import pyarrow as pa

from promptrank.basics.sql import ident, pack
from promptrank.requests.decode import decode
from promptrank.tables.build_plan import Plan
from promptrank.tables.held_out import STAGES
from promptrank.tables.history import Nearness, Past, build
from promptrank.tables.labels import answers_of, place_column
from promptrank.tables.walk import Ahead, Read, column

_BATCH = 65536


def events_sql(plan: Plan) -> str:
    """SQL of the events in the order in which they became known, by member."""
    history = plan.task.history
    assert history is not None
    fields = [("item_id", "item_id"), ("action", "label"), ("time", "t"), ("item_row", "item_row")]
    context = history.events.context if history.events is not None else plan.context
    if context:
        fields.append(("context", "ctx"))
    if stats := plan.statistics("item"):
        fields.append(("stats", pack([(n, ident("st_" + n)) for n in stats])))
    fields.append(("outcomes", answers_of("", plan.questions)))
    extra, where = "", ""
    if plan.turns:
        # A turn is a question with its answer: events that hold none are no turns.
        question = history.question or plan.first[0]
        where = f"WHERE {ident(place_column(question))} IS NOT NULL"
        if plan.table_of("member") is not None:
            extra += ", member_row"
        extra += "".join(f", {ident('st_' + n)}" for n in plan.statistics("member"))
    return (
        "SELECT member_id, key, t, known, stage, label, item_id, item_row, "
        f"{pack(fields)} AS event{extra} "
        f"FROM {plan.place}.events {where} ORDER BY member_id, known, t, key, step"
    )


class Chooser:
    """Gives the histories of requests that come sorted by member and time.

    Holds the events of the members in hand. `table` is the events of the latest call; histories
    are places in it.
    """

    table: pa.Table

    def __init__(self, read: Read, plan: Plan) -> None:
        assert plan.task.history is not None
        self._history = plan.task.history
        # An event's outcome may become known, and change, after the event itself.
        self._revised = plan.task.outcomes is not None and self._history.events is None
        plain = self._history.build == "chronological" and not (
            self._history.actions or self._history.at_most or self._history.deduplicate
        )
        self._parted = plan.task.split is not None and plan.task.split.by == "field"
        self._fast = plain and not self._revised and not self._parted
        reader = read(events_sql(plan), "history", _BATCH)
        self._events = Ahead(reader, "member_id")
        self.table = reader.schema.empty_table()
        self._last: str | None = None

    def choose(
        self,
        members: Sequence[str | None],
        moments: Sequence[float],
        nearness: Sequence[Nearness] | None,
        parts: Sequence[str | None],
    ) -> list[list[int]]:
        """For each request the places in `table` of the events that it shows.

        Args:
            parts: of the split; by field, a request shows nothing that is held out from its part.
        """
        self._advance(members)
        names = decode(column(self.table, "member_id"))
        self._known: list[float] = decode(column(self.table, "known"))
        if not self._fast:
            self._times: list[float] = decode(column(self.table, "t"))
            self._keys: list[int] = decode(column(self.table, "key"))
            self._stages: list[int] = decode(column(self.table, "stage"))
            actions = decode(column(self.table, "label"))
            items = decode(column(self.table, "item_id"))
            self._pasts = [
                Past(i, a, x) for i, (a, x) in enumerate(zip(actions, items, strict=True))
            ]
        chosen: list[list[int]] = []
        here, low, high = None, 0, 0
        self._latest: dict[int, int] = {}
        for i, (member, moment) in enumerate(zip(members, moments, strict=True)):
            if member is None:
                chosen.append([])
                continue
            if member != here:
                low = bisect_left(names, member)
                high = bisect_left(names, member + "\0", low)
                here, self._latest, self._seen = member, {}, low
            end = bisect_left(self._known, moment, low, high)
            if self._fast:
                count = min(self._history.last, self._history.pool)
                chosen.append(list(range(max(low, end - count), end)))
                continue
            stage = STAGES.get(parts[i] or "", 0) if self._parted else None
            pool = [self._pasts[p] for p in self._pool(low, end, stage)]
            near = nearness[i] if nearness is not None else None
            chosen.append([past.at for past in build(pool, self._history, near)])
        return chosen

    def _advance(self, members: Sequence[str | None]) -> None:
        """Read on to the last of these members, and let go of members before the first."""
        named = [m for m in members if m is not None]
        if not named:
            self.table = self.table.slice(0, 0)
            return
        kept = self.table
        if kept.num_rows:
            start = bisect_left(decode(column(kept, "member_id")), named[0])
            kept = kept.slice(start)
        if self._last is None or named[-1] > self._last:
            fresh = self._events.through(named[-1])
            self._last = named[-1]
            kept = pa.concat_tables([kept, fresh]).combine_chunks()
        self.table = kept

    def _pool(self, low: int, end: int, stage: int | None) -> list[int]:
        """The latest events that are known, each as it was last known, oldest first.

        Args:
            stage: events of a later one are not shown; None to show all.
        """
        size = self._history.pool
        if not self._revised:
            if stage is None:
                return list(range(max(low, end - size), end))
            return [i for i in range(low, end) if self._stages[i] <= stage][-size:]
        # Requests of a member come by time, so what is known only ever grows.
        for i in range(self._seen, end):
            self._latest[self._keys[i]] = i
        self._seen = max(self._seen, end)
        order = sorted(self._latest.values(), key=lambda i: (self._times[i], self._keys[i]))
        if stage is not None:
            return [i for i in order if self._stages[i] <= stage][-size:]
        if len(order) > 2 * size:
            self._latest = {self._keys[i]: i for i in order[-size:]}
        return order[-size:]
