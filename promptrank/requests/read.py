"""Request files to `Request` records, in file order, holding one part of the file at a time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from promptrank.basics.hints import near
from promptrank.basics.seals import config_beside, written_digest
from promptrank.errors import DataError, ErrorRow, RowError
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.requests import cells as values
from promptrank.requests.format import EVENT, Rows, items_path_of
from promptrank.requests.items import ItemTable
from promptrank.requests.marks import Marker
from promptrank.requests.row_blocks import Errors, RowBlock, blocks
from promptrank.requests.row_parts import digest_in
from promptrank.schema.task import Task

OwnItems = Callable[[], AbstractContextManager[ItemTable]]
"""Opens an item table for as long as a file is read."""
Lookup = Callable[[str, Any, Any, float | None], Item]
"""(item_id, inline fields, row in the snapshot, time) -> the item; RowError where there is none."""


def read_requests(
    path: Path,
    *,
    task: Task | None = None,
    own_items: OwnItems | None = None,
    splits: set[str] | None = None,
    errors: Errors,
    marker: Marker | None = None,
    seen: dict[int, bool] | None = None,
) -> Iterator[Request]:
    """Stream the requests of a file.

    Items come from the row itself, else from the snapshot beside the file, else from what
    ``own_items`` opens, the task's item table for one. A row that cannot be used goes to
    ``errors``; a request that lost candidates this way has ``meta["partial"]`` True and their
    number under ``meta["lost"]``. An event that cannot be used is left out and counted under
    ``meta["events_lost"]``. No request id comes twice: see `promptrank.requests.row_blocks`, and
    there for ``marker`` and ``seen``, by which a reader goes on where another one was.

    Raises:
        DataError: the file is not a request file, or its snapshot is not the one it was built with.
    """
    with ExitStack() as stack:
        lookup = _lookup(path, own_items, stack)
        known = _answers(task)
        for block in blocks(path, splits, errors, marker, seen):
            request = _request(block, lookup, known, errors)
            if request is not None:
                yield request


def _request(
    block: RowBlock, lookup: Lookup, known: Mapping[str, frozenset[str]] | None, errors: Errors
) -> Request | None:
    rows, start = block.rows, block.start
    name: str = rows["request_id"][start]
    alone = block.end - start  # rows that no error row of a candidate tells of
    try:
        if block.headless:
            raise RowError(
                "torn_request",
                "the line before its first row was lost, and with it the request's own columns "
                "(its query, member, history); write the request again",
            )
        time = values.number(rows["time"][start], "time")
        split = values.text(rows["split"][start], "split")
        meta = dict(values.record(rows["meta"][start], "meta"))
        subject = subject_of(rows, start, lookup, time)
        history, missed = history_of(rows["history"][start], name, time, lookup, errors)
        candidates, lost = _candidates(block, lookup, known, time, errors)
        alone = 0
        if not candidates:
            raise RowError("no_candidates", "no candidate of this request can be used")
    except RowError as error:
        errors(error.row("data", name, rows=alone))
        return None
    if lost := lost + block.scattered + block.lost:
        meta |= {"partial": True, "lost": values.count(meta.get("lost")) + lost}
    if missed:
        meta["events_lost"] = values.count(meta.get("events_lost")) + missed
    return Request(name, subject, candidates, history, time, split, meta)


def _candidates(
    block: RowBlock,
    lookup: Lookup,
    known: Mapping[str, frozenset[str]] | None,
    time: float | None,
    errors: Errors,
) -> tuple[tuple[Candidate, ...], int]:
    """The usable candidates, and how many were lost."""
    usable: dict[str, Candidate] = {}
    lost = 0
    rows, start = block.rows, block.start
    request_id = rows["request_id"][start]
    for i in range(start, block.end):
        name = None
        try:
            name = values.text(rows["candidate_id"][i], "candidate_id")
            item_id = values.text(rows["item_id"][i], "item_id")
            if item_id is None:
                raise RowError("null_key", f"row {i - start + 1} of the request has no item_id")
            name = name or item_id
            if name in usable:
                raise RowError("duplicate_candidate", f"{name} stands twice; the first is kept")
            usable[name] = Candidate(
                name,
                lookup(item_id, rows["item"][i], rows["item_row"][i], time),
                values.record(rows["context"][i], "context"),
                values.record(rows["stats"][i], "stats"),
                values.place(rows["position"][i], "position"),
                values.propensity(rows["propensity"][i]),
                values.weight(rows["weight"][i]),
                values.measure(rows["logged_score"][i], "logged_score"),
                _outcomes(rows["outcomes"][i], known, request_id, name, errors),
                values.measures(rows["baseline"][i], "baseline"),
                values.label(rows["label_source"][i], "label_source"),
            )
        except RowError as error:
            errors(error.row("data", request_id, name, rows=1))
            if error.reason != "duplicate_candidate":
                lost += 1
    return tuple(usable.values()), lost


def _outcomes(
    given: Any,
    known: Mapping[str, frozenset[str]] | None,
    request_id: str,
    name: str,
    errors: Errors,
) -> Mapping[str, str]:
    """The outcomes that the task knows; the candidate goes unlabelled for the others."""
    outcomes = values.record(given, "outcomes")
    if not outcomes:
        return outcomes
    problems = {q: _unknown(q, answer, known) for q, answer in outcomes.items()}
    if not any(problems.values()):
        return outcomes
    for message in filter(None, problems.values()):
        errors(ErrorRow(request_id, name, "data", "unknown_label", message))
    return {q: answer for q, answer in outcomes.items() if problems[q] is None}


def _unknown(question: str, answer: Any, known: Mapping[str, frozenset[str]] | None) -> str | None:
    if type(answer) is not str:
        kind = type(answer).__name__
        return f"outcomes.{question}: expected the name of an answer, got {kind}"
    if known is None:
        return None
    if question not in known:
        return f"outcomes: no question {question!r}; {near(question, known)}"
    if answer not in known[question]:
        return f"outcomes.{question}: no answer {answer!r}; {near(answer, known[question])}"
    return None


def subject_of(rows: Rows, at: int, lookup: Lookup, time: float | None) -> Subject:
    """The subject of the request whose first row is at a place."""
    member_id, query_id, source_id = (
        values.text(rows[name][at], name) for name in ("member_id", "query_id", "source_id")
    )
    member, query = rows["member"][at], rows["query"][at]
    source: Item | None = None
    if isinstance(query, str):
        query_id = query_id if query_id is not None else values.text(query, "query")
        query = {"text": query}
    if source_id is not None or rows["source"][at] is not None:
        source = lookup(source_id or "source", rows["source"][at], None, time)
    return Subject(
        member_id,
        values.record(member, "member") if member is not None or member_id is not None else None,
        query_id,
        values.record(query, "query") if query is not None or query_id is not None else None,
        source,
    )


def history_of(
    given: Any, request_id: str, time: float | None, lookup: Lookup, errors: Errors
) -> tuple[tuple[Event, ...], int]:
    """The usable events of a request, and how many were left out."""
    if given is None:
        return (), 0
    if not isinstance(given, list):
        raise RowError("bad_row", "history: expected a list of events")
    events: list[Event] = []
    for i, entry in enumerate(given):
        try:
            event = _event(entry, lookup)
        except RowError as error:
            reason, message = f"event_{error.reason}", f"history[{i}]: {error}"
            errors(ErrorRow(request_id, None, "data", reason, message))
            continue
        if event.time is not None and time is not None and event.time >= time:
            raise RowError("future_history", f"history[{i}]: not before the request's time")
        events.append(event)
    return tuple(events), len(given) - len(events)


def _event(given: Any, lookup: Lookup) -> Event:
    if type(given) is not tuple:
        raise RowError("bad_row", _what_is_wrong(given))
    item_id, item, row, action, when, context, stats, outcomes = given
    name = values.text(item_id, "item_id")
    if name is None:
        raise RowError("bad_row", "no item_id")
    when = values.number(when, "time")
    answers = values.record(outcomes, "outcomes")
    for question, answer in answers.items():
        values.label(answer, f"outcomes.{question}")
    return Event(
        lookup(name, item, row, when),
        values.label(action, "action"),
        when,
        values.record(stats, "stats"),
        values.record(context, "context"),
        answers,
    )


def _what_is_wrong(event: Any) -> str:
    if not isinstance(event, dict):
        return f"expected an object, got {type(event).__name__}"
    strange = next(n for n in event if n not in EVENT)
    return f"no field {strange!r}; {near(strange, EVENT)}"


def _answers(task: Task | None) -> dict[str, frozenset[str]] | None:
    if task is None:
        return None
    return {name: frozenset(q.answers) for name, q in task.questions.items()}


def _lookup(path: Path, own_items: OwnItems | None, stack: ExitStack) -> Lookup:
    beside = items_path_of(path)
    table: ItemTable | None = None
    built_with = digest_in(path)
    if beside.is_file():
        # Lines cannot say what they were built with; the config beside them does.
        expected = built_with or written_digest(beside, config_beside(path))
        table = ItemTable(beside, expected=expected)
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
            if own_items is None:
                raise DataError(f"{path}: items come neither with the rows nor as {beside.name}")
            table = stack.enter_context(own_items())
        item = table.find(item_id, time)
        if item is None:
            raise RowError("item_not_found", f"item {item_id} is not in the items table")
        return item

    return lookup
