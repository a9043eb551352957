"""Tables to requests: everything as of the request, in bounded memory."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from promptrank.basics.digests import file_digest
from promptrank.basics.json_files import json_object
from promptrank.basics.sql import Connection, run, stream
from promptrank.errors import DataError, ErrorRow
from promptrank.requests.format import errors_path_of, items_path_of
from promptrank.requests.items import ItemTable
from promptrank.requests.write import TableWriter, check_suffix
from promptrank.schema.task import Task
from promptrank.tables import group
from promptrank.tables.assemble import chunks, open_snapshots
from promptrank.tables.build_plan import Plan
from promptrank.tables.events import make_events
from promptrank.tables.loading import database
from promptrank.tables.negatives import add_negatives
from promptrank.tables.row_tables import read_rows
from promptrank.tables.split import empty_parts, make_split, seen_in_training, shown_early
from promptrank.tables.statistics import make_sums

_YEAR_5000 = 95_617_584_000.0


@dataclass(frozen=True, slots=True)
class Built:
    """What a build wrote.

    Attributes:
        requests, candidates: how many, by split (``all`` where none is declared).
        errors: how many rows were set aside, by reason.
        seen: share of test subjects and test items that training holds; None without a test part.
        clock: ``time``, ``order`` or None; first and last request time under ``first, last``.
        fingerprint: of the requests and the items they point to; equal data, equal fingerprint.
        cut: how many requests a split by time has cut, since their rows lay on both sides of a
            boundary.
    """

    path: Path
    items_path: Path
    errors_path: Path
    requests: dict[str, int]
    candidates: dict[str, int]
    errors: dict[str, int]
    seen: dict[str, float | None]
    clock: dict[str, str | float | None]
    notes: tuple[str, ...]
    fingerprint: str
    cut: int = 0


def build_requests(
    task: Task,
    *,
    root: Path,
    out: Path,
    say: Callable[[str], None] = lambda text: None,
    limit: int | None = None,
    splits: set[str] | None = None,
    threads: int | None = None,
    memory: str = "1GB",
) -> Built:
    """Build the requests of a task and write them to ``out`` (.parquet or .jsonl).

    Beside it go the item snapshot (``<stem>.items.arrow``) and the rows that were set aside
    (``<stem>.errors.jsonl``). The same tables give the same bytes, in whatever order their rows
    stand and however many threads work.

    Args:
        root: folder that the task's paths are relative to.
        limit: at most this many requests of each part, a sample by a hash of their ids.
        splits: only these parts.
        memory: what DuckDB may hold before it goes to disk; Python needs some more.

    Raises:
        DataError: tables that cannot be used at all; a bad row only becomes an error row. Also
            where no request comes out.
    """
    check_suffix(out)
    if splits is not None and task.split is None:
        raise DataError("split: the task declares none, so there are no parts to choose")
    out.parent.mkdir(parents=True, exist_ok=True)
    with database(root, beside=out.parent, threads=threads, memory=memory) as (con, folder):
        say("reading tables")
        plan = read_rows(con, task, root, folder)
        say("grouping rows into requests")
        cut = group.make_requests(con, plan)
        notes = []
        if cut:
            notes.append(f"{cut:,} requests were cut at a boundary between the parts")
        if gone := make_split(con, plan):
            notes.append(_left_out(gone, task))
        notes += [*empty_parts(con, plan), *shown_early(con, plan)]
        _narrow(con, limit, splits)
        group.make_candidates(con, plan)
        say("computing statistics as of each moment")
        make_sums(con, plan)
        if task.history is not None and plan.timed:
            make_events(con, plan)
        if plan.negatives is not None:
            say("sampling negatives")
            add_negatives(con, plan, plan.negatives)
        say("writing requests")
        snapshot_path = plan.entities[plan.table_of("item") or ""].path
        items = ItemTable(snapshot_path)
        meta = {"promptrank.items": items.digest, "promptrank.form": task.form}
        counts = _write(con, plan, out, items, meta)
        errors = _write_errors(con, errors_path_of(out))
        seen = seen_in_training(con) if task.split is not None else {}
        clock = _clock(con, plan)
        del items
        snapshot_path.replace(items_path_of(out))
    if not counts[0]:
        raise DataError(_nothing(task, splits, errors, errors_path_of(out)))
    if clock["clock"] == "time" and float(clock["last"] or 0) > _YEAR_5000:
        notes.append(
            "times lie beyond the year 5000: they look like milliseconds; divide under columns:"
        )
    fingerprint = f"{file_digest(out)[:16]}-{meta['promptrank.items'][:16]}"
    return Built(
        out,
        items_path_of(out),
        errors_path_of(out),
        *counts,
        errors,
        seen,
        clock,
        tuple(notes),
        fingerprint,
        cut,
    )


def _left_out(gone: int, task: Task) -> str:
    split = task.split
    if split is not None and split.by == "field":
        return f"{gone:,} requests have no {split.field} and are left out"
    return f"{gone:,} requests fall into gaps between the parts and are left out"


def _narrow(con: Connection, limit: int | None, splits: set[str] | None) -> None:
    if splits is not None:
        named = ", ".join(f"'{s}'" for s in sorted(splits) if s.isalpha())
        run(con, f"DELETE FROM pr.requests WHERE split NOT IN ({named or 'NULL'})", "split")
    if limit is not None:
        run(
            con,
            "DELETE FROM pr.requests WHERE request_no NOT IN (SELECT request_no FROM pr.requests "
            "QUALIFY row_number() OVER (PARTITION BY split ORDER BY md5(request_id), request_id) "
            f"<= {int(limit)})",
            "limit",
        )


def _write(
    con: Connection, plan: Plan, out: Path, items: ItemTable, meta: dict[str, str]
) -> tuple[dict[str, int], dict[str, int]]:
    requests: Counter[str] = Counter()
    candidates: Counter[str] = Counter()
    tables = chunks(partial(stream, con), plan, open_snapshots(plan, items))
    first = next(tables, None)
    if first is None:
        return {}, {}
    schema = first.schema
    with TableWriter(out, schema, metadata=meta) as writer:
        for table in chain([first], tables):
            writer.write_table(table.cast(schema))
            # A request's rows never straddle two tables.
            counted = table.group_by("split").aggregate(
                [("request_id", "count_distinct"), ("request_id", "count")]
            )
            for row in counted.to_pylist():
                requests[row["split"] or "all"] += row["request_id_count_distinct"]
                candidates[row["split"] or "all"] += row["request_id_count"]
    return dict(requests), dict(candidates)


def _write_errors(con: Connection, path: Path) -> dict[str, int]:
    counts: Counter[str] = Counter()
    cursor = run(
        con.cursor(),
        "SELECT request_id, candidate_id, reason, message FROM pr.errors ORDER BY ALL",
        "errors",
    )
    with TableWriter(path) as writer:
        while rows := cursor.fetchmany(8192):
            writer.write_rows([ErrorRow(r[0], r[1], "data", r[2], r[3]).as_dict() for r in rows])
            counts.update(str(row[2]) for row in rows)
    return dict(counts)


def _nothing(task: Task, splits: set[str] | None, errors: dict[str, int], path: Path) -> str:
    """Why there is no request; all of it, since the caller may be about to remove ``path``."""
    part = f" of part {' or '.join(sorted(splits))}" if splits else ""
    what = f"{task.form}: no request{part} could be built"
    if not errors:
        return f"{what}; no row was set aside, so look at split, limit and what the parts hold"
    with path.open(encoding="utf-8") as lines:
        example = json_object(next(lines), str(path))["message"]
    reasons = sorted(errors.items(), key=lambda pair: (-pair[1], pair[0]))
    counts = ", ".join(f"{count:,} x {reason}" for reason, count in reasons)
    return f"{what}; set aside: {counts}; such as: {example} (all of them: {path})"


def _clock(con: Connection, plan: Plan) -> dict[str, str | float | None]:
    kind = None if not plan.timed else "order" if plan.task.ordered_only else "time"
    row = run(con, "SELECT min(t), max(t) FROM pr.requests", "clock").fetchone()
    first, last = row if row is not None else (None, None)
    return {"clock": kind, "first": first, "last": last}
