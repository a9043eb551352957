"""Request files to `Request` records, in file order, holding one part of the file at a time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from promptrank.data.entities import snapshot
from promptrank.data.format import COLUMNS, EVENT, Rows, digest_in, items_path_of, parts
from promptrank.data.items import ItemTable
from promptrank.data.names import near
from promptrank.data.sql import run
from promptrank.data.tables import database, load
from promptrank.errors import DataError, ErrorRow, RowError
from promptrank.records import EMPTY, Candidate, Event, Item, Request, Subject
from promptrank.schema.task import Task

Errors = Callable[[ErrorRow], None]
Lookup = Callable[[str, Any, Any, float | None], Item]
"""(item_id, inline fields, row in the snapshot, time) -> the item; RowError where there is none."""


def read_requests(
    path: Path,
    *,
    task: Task | None = None,
    root: Path | None = None,
    splits: set[str] | None = None,
    errors: Errors,
) -> Iterator[Request]:
    """Stream the requests of a file.

    Items come from the row itself, else from the snapshot beside the file, else from the task's
    item table under ``root``. A row that cannot be used goes to ``errors``; a request that lost
    candidates this way has ``meta["partial"]`` True and their number under ``meta["lost"]``.

    Raises:
        DataError: the file is not a request file, or its snapshot is not the one it was built with.
    """
    with ExitStack() as stack:
        lookup = _lookup(path, task, root, stack)
        known = _answers(task)
        seen: set[int] = set()
        for rows in _whole_requests(path, errors):
            names = rows["request_id"]
            start = 0
            while start < len(names):
                end = start + 1
                while end < len(names) and names[end] == names[start]:
                    end += 1
                if splits is None or rows["split"][start] in splits:
                    request = _request(rows, start, end, lookup, known, seen, errors)
                    if request is not None:
                        yield request
                start = end


def _whole_requests(path: Path, errors: Errors) -> Iterator[Rows]:
    """Parts of the file that end where a request ends."""
    held: Rows = {name: [] for name in COLUMNS}
    for rows, bad in parts(path):
        for message in bad:
            errors(ErrorRow(None, None, "data", "bad_row", message))
        if held["request_id"]:
            rows = {name: held[name] + rows[name] for name in COLUMNS}
        names = rows["request_id"]
        cut = len(names)
        while cut > 0 and names[cut - 1] == names[-1]:
            cut -= 1
        held = {name: values[cut:] for name, values in rows.items()}
        if cut:
            yield {name: values[:cut] for name, values in rows.items()}
    if held["request_id"]:
        yield held


def _request(
    rows: Rows,
    start: int,
    end: int,
    lookup: Lookup,
    known: Mapping[str, frozenset[str]] | None,
    seen: set[int],
    errors: Errors,
) -> Request | None:
    name = rows["request_id"][start]
    try:
        if not isinstance(name, str):
            raise RowError("null_key", f"rows have no request_id ({end - start} of them)")
        if hash(name) in seen:
            raise RowError("scattered_request", f"rows of {name} do not stand together")
        seen.add(hash(name))
        time = _number(rows["time"][start], "time")
        subject = _subject(rows, start, lookup, time)
        history = tuple(_history(rows["history"][start], time, lookup))
        candidates, lost = _candidates(rows, start, end, lookup, known, time, errors)
        if not candidates:
            raise RowError("no_candidates", "no candidate of this request can be used")
    except RowError as error:
        errors(error.row("data", name if isinstance(name, str) else None))
        return None
    meta = dict(_record(rows["meta"][start], "meta"))
    if lost:
        meta |= {"partial": True, "lost": int(meta.get("lost") or 0) + lost}
    return Request(name, subject, candidates, history, time, rows["split"][start], meta)


def _candidates(
    rows: Rows,
    start: int,
    end: int,
    lookup: Lookup,
    known: Mapping[str, frozenset[str]] | None,
    time: float | None,
    errors: Errors,
) -> tuple[tuple[Candidate, ...], int]:
    """The usable candidates, and how many were lost."""
    found: dict[str, Candidate] = {}
    lost = 0
    request_id = rows["request_id"][start]
    for i in range(start, end):
        item_id = rows["item_id"][i]
        name = rows["candidate_id"][i] or item_id
        try:
            if not isinstance(item_id, str):
                raise RowError("null_key", f"row {i - start + 1} of the request has no item_id")
            if name in found:
                raise RowError("duplicate_candidate", f"{name} stands twice; the first is kept")
            outcomes = _record(rows["outcomes"][i], "outcomes")
            if known is not None and outcomes:
                outcomes = _known_only(outcomes, known, request_id, name, errors)
            found[name] = Candidate(
                name,
                lookup(item_id, rows["item"][i], rows["item_row"][i], time),
                _record(rows["context"][i], "context"),
                _record(rows["stats"][i], "stats"),
                rows["position"][i],
                rows["propensity"][i],
                rows["weight"][i],
                rows["logged_score"][i],
                outcomes,
                _record(rows["baseline"][i], "baseline"),
            )
        except RowError as error:
            errors(error.row("data", request_id, name if isinstance(name, str) else None))
            if error.reason != "duplicate_candidate":
                lost += 1
    return tuple(found.values()), lost


def _known_only(
    outcomes: Mapping[str, str],
    known: Mapping[str, frozenset[str]],
    request_id: str,
    name: str,
    errors: Errors,
) -> Mapping[str, str]:
    """The outcomes that the task knows; the candidate goes unlabelled for the others."""
    if all(answer in known.get(question, ()) for question, answer in outcomes.items()):
        return outcomes
    kept = {}
    for question, answer in outcomes.items():
        if question not in known:
            message = f"outcomes: no question {question!r}; {near(question, known)}"
        elif answer not in known[question]:
            message = (
                f"outcomes.{question}: no answer {answer!r}; {near(str(answer), known[question])}"
            )
        else:
            kept[question] = answer
            continue
        errors(ErrorRow(request_id, name, "data", "unknown_label", message))
    return kept


def _subject(rows: Rows, at: int, lookup: Lookup, time: float | None) -> Subject:
    member_id, query_id, source_id = (rows[f"{r}_id"][at] for r in ("member", "query", "source"))
    member, query = rows["member"][at], rows["query"][at]
    source: Item | None = None
    if isinstance(query, str):
        query_id, query = query_id if query_id is not None else query, {"text": query}
    if source_id is not None or rows["source"][at] is not None:
        source = lookup(str(source_id or "source"), rows["source"][at], None, time)
    return Subject(
        member_id,
        _record(member, "member") if member is not None or member_id is not None else None,
        query_id,
        _record(query, "query") if query is not None or query_id is not None else None,
        source,
    )


def _history(events: Any, time: float | None, lookup: Lookup) -> Iterator[Event]:
    if events is None:
        return
    if not isinstance(events, list):
        raise RowError("bad_row", "history: expected a list of events")
    for i, event in enumerate(events):
        if type(event) is not tuple:
            raise RowError("bad_row", f"history[{i}]: {_what_is_wrong(event)}")
        item_id, item, row, action, when, context, stats, outcomes = event
        if type(item_id) is not str:
            raise RowError("bad_row", f"history[{i}]: no item_id")
        if when is not None:
            when = _number(when, "history.time") or 0.0
            if time is not None and when >= time:
                raise RowError("future_history", f"history[{i}]: not before the request's time")
        yield Event(
            lookup(item_id, item, row, when),
            action,
            when,
            _record(stats, "history.stats"),
            _record(context, "history.context"),
            _record(outcomes, "history.outcomes"),
        )


def _what_is_wrong(event: Any) -> str:
    if not isinstance(event, dict):
        return f"expected an object, got {type(event).__name__}"
    strange = next(n for n in event if n not in EVENT)
    return f"no field {strange!r}; {near(strange, EVENT)}"


def _record(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return EMPTY
    if not isinstance(value, dict):
        raise RowError("bad_row", f"{where}: expected an object, got {type(value).__name__}")
    return value


def _number(value: Any, where: str) -> float | None:
    if value is None or type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowError("bad_row", f"{where}: expected a number, got {type(value).__name__}")
    return float(value)


def _answers(task: Task | None) -> dict[str, frozenset[str]] | None:
    if task is None:
        return None
    return {name: frozenset(q.answers) for name, q in task.questions.items()}


def _lookup(path: Path, task: Task | None, root: Path | None, stack: ExitStack) -> Lookup:
    beside = items_path_of(path)
    table: ItemTable | None = None
    built_with = digest_in(path)
    if beside.is_file():
        table = ItemTable(beside)
        if built_with is not None and built_with != table.digest:
            raise DataError(f"{beside}: not the items that {path.name} was built with; build again")
    elif built_with is not None:
        raise DataError(f"{beside}: missing; it was written beside {path.name}, keep them together")

    def lookup(item_id: str, inline: Any, row: Any, time: float | None) -> Item:
        nonlocal table
        if inline is not None:
            if not isinstance(inline, dict):
                raise RowError("bad_row", f"item {item_id}: its fields are no object")
            return Item(item_id, inline)
        if row is not None and table is not None:
            if type(row) is not int or not 0 <= row < len(table):
                raise RowError("item_not_found", f"item_row {row} is outside the snapshot")
            return table.row(row)
        if table is None:
            if task is None or root is None:
                raise DataError(f"{path}: items come neither with the rows nor as {beside.name}")
            table = task_items(task, root, stack)
        found = table.find(item_id, time)
        if found is None:
            raise RowError("item_not_found", f"item {item_id} is not in the items table")
        return found

    return lookup


def task_items(task: Task, root: Path, stack: ExitStack) -> ItemTable:
    """The task's item table, over a snapshot that goes away with ``stack``."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="promptrank-")))
    name = task.item_table or ""
    table = task.tables[name]
    # A query may use any other table; a file stands for itself.
    only = {f"tables.{n}" for n in task.tables if n == name or table.sql is not None}
    with database(root) as (con, _):
        load(con, task, root, only)
        run(con, "CREATE TABLE pr.errors (a VARCHAR, b VARCHAR, c VARCHAR, d VARCHAR)", "errors")
        snapshot(con, name, table, folder / "items.arrow")
    return ItemTable(folder / "items.arrow")
