"""Sampled negatives: items added to a request, drawn from what was known at its time.

A draw depends on the seed, the request's id and the draw's number alone; the pool it draws from
is in an order in which later items and events come last. So nothing at or after the request's
time, no row order and no thread can change it.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from promptrank.basics.sql import Connection, run, stream
from promptrank.schema.data_tables import Negatives
from promptrank.tables.build_plan import Plan
from promptrank.tables.held_out import STAGES, stages_of_pool

_BATCH = 20_000
# For one wanted item: enough that popular items already in the request do not starve it.
_TRIES = 100


def add_negatives(con: Connection, plan: Plan, negatives: Negatives) -> None:
    """Insert sampled items into ``pr.candidates`` (row_no NULL); fills ``pr.sampled`` (got)."""
    _pool(con, plan)
    run(
        con,
        "CREATE TABLE pr.drawn (request_no BIGINT, n BIGINT); "
        "CREATE TABLE pr.sampled (request_no BIGINT, got BIGINT)",
        "negatives",
    )
    for batch in _draw_all(con, plan, negatives):
        got = [(r, len(items)) for r, items in batch]
        pairs = [(r, n) for r, items in batch for n in items]
        _insert(con, "drawn", "n", pairs)
        _insert(con, "sampled", "got", got)
    items = plan.entities[plan.table_of("item") or ""]
    drawn = (
        "(SELECT d.request_no, p.item_id, q.moment FROM pr.drawn d JOIN pr.pool p USING (n) "
        "JOIN pr.requests q USING (request_no)) d"
    )
    run(
        con,
        "INSERT INTO pr.candidates (request_no, row_no, cand_id, item_id, moment, item_row) "
        "SELECT d.request_no, NULL, d.item_id, d.item_id, d.moment, i.row "
        f"FROM {items.join(drawn, 'd.item_id', 'd.moment', 'i')}",
        "negatives",
    )


def _insert(con: Connection, table: str, name: str, rows: list[tuple[int, int]]) -> None:
    columns = [pa.array([row[i] for row in rows], pa.int64()) for i in (0, 1)]
    con.register("fresh", pa.table(columns, names=["request_no", name]))
    run(con, f"INSERT INTO pr.{table} SELECT * FROM fresh", "negatives")
    con.unregister("fresh")


def _pool(con: Connection, plan: Plan) -> None:
    """``pr.pool``: items numbered by the time from which they are known, then by id."""
    items = plan.entities[plan.table_of("item") or ""]
    run(
        con,
        "CREATE TABLE pr.pool AS SELECT row_number() OVER (ORDER BY since, item_id) - 1 AS n, * "
        "FROM (SELECT id AS item_id, coalesce(min(since), '-inf'::DOUBLE) AS since "
        f"FROM {items.versions} GROUP BY id)",
        "negatives",
    )


def _draw_all(
    con: Connection, plan: Plan, negatives: Negatives
) -> Iterator[list[tuple[int, list[int]]]]:
    known = _column(con, "SELECT since FROM pr.pool ORDER BY n", "since")
    if negatives.sampler == "popular":
        # A row of an item that is not known (yet) keeps its place: whether the item is known
        # later must not move the other rows. If it is drawn, it is passed over.
        sql = (
            "SELECT r.t, coalesce(p.n, -1) AS n FROM pr.rows r LEFT JOIN pr.pool p USING (item_id) "
            "WHERE r.fault IS NULL ORDER BY r.t NULLS FIRST, r.item_id"
        )
        table = stream(con, sql, "negatives", 65536).read_all()
        times = table["t"].to_numpy()
        draws = table["n"].to_numpy().astype(np.int32)
    else:
        times, draws = known, None
    touched, stages = _Touched(con, plan), stages_of_pool(con, plan)
    inside = "SELECT request_no, item_id FROM pr.candidates"
    if plan.table_of("source") == plan.table_of("item"):
        # A source item is no candidate beside itself.
        inside += " UNION ALL SELECT request_no, source_id FROM pr.requests"
    sql = (
        "SELECT q.request_no, q.request_id, q.member_id, q.moment, q.split, list(p.n) AS own "
        f"FROM pr.requests q JOIN ({inside}) c USING (request_no) "
        "JOIN pr.pool p ON p.item_id = c.item_id GROUP BY ALL ORDER BY q.request_no"
    )
    cursor = run(con.cursor(), sql, "negatives")
    while rows := cursor.fetchmany(_BATCH):
        batch = []
        for number, name, member, moment, part, own in rows:
            size = len(times) if moment is None else int(np.searchsorted(times, moment, "left"))
            met, barred = touched.before(member, moment), set(own)
            drawn = []
            for place in draw(size, negatives.seed, name, limit=_TRIES * negatives.count):
                item = int(draws[place]) if draws is not None else place
                late = item < 0 or (moment is not None and not known[item] < moment)
                if late or item in barred or item in met:
                    continue
                if stages is not None and stages[item] != STAGES.get(part):
                    continue
                barred.add(item)
                drawn.append(item)
                if len(drawn) == negatives.count:
                    break
            batch.append((number, drawn))
        yield batch


def draw(size: int, seed: int, request_id: str, limit: int) -> Iterator[int]:
    """Places 0..size-1 in a random order, each at most once, at most ``limit`` of them.

    A shuffle (Fisher-Yates) of which only the visited part is held.
    """
    moved: dict[int, int] = {}
    for i in range(min(size, limit)):
        text = f"{seed}\x1f{request_id}\x1f{i}".encode()
        drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
        j = i + drawn % (size - i)
        yield moved.get(j, j)
        moved[j] = moved.get(i, i)


class _Touched:
    """Items a member has met so far; requests must come by member and time, as they are sorted."""

    def __init__(self, con: Connection, plan: Plan) -> None:
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._next: tuple[Any, ...] | None = None
        self._member: str | None = None
        self._met: set[int] = set()
        if plan.ref("member") is None or not plan.timed:
            return
        sources = ["SELECT member_id, t, item_id FROM pr.rows WHERE fault IS NULL"]
        if plan.task.history is not None and plan.task.history.events is not None:
            sources.append("SELECT member_id, t, item_id FROM pr.event_rows")
        sql = (
            f"SELECT e.member_id, e.t, p.n FROM ({' UNION ALL '.join(sources)}) e "
            "JOIN pr.pool p USING (item_id) WHERE e.member_id IN "
            "(SELECT member_id FROM pr.requests) ORDER BY 1, 2, 3"
        )
        cursor = run(con.cursor(), sql, "negatives")
        self._rows = _all(cursor)
        self._next = next(self._rows, None)

    def before(self, member: str | None, moment: float | None) -> set[int]:
        """The items met strictly before a moment; to be read before the next call."""
        if member is None or moment is None:
            return set()
        if member != self._member:
            self._member, self._met = member, set()
        while self._next is not None and self._next[0] < member:
            self._next = next(self._rows, None)
        while self._next is not None and self._next[0] == member and self._next[1] < moment:
            self._met.add(self._next[2])
            self._next = next(self._rows, None)
        return self._met


def _all(cursor: Connection) -> Iterator[tuple[Any, ...]]:
    while rows := cursor.fetchmany(_BATCH):
        yield from rows


def _column(con: Connection, sql: str, name: str) -> Any:
    return stream(con, sql, "negatives", 65536).read_all()[name].to_numpy()
