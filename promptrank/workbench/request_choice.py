"""Which request is looked at: one of a request file, by part and id, or one that is pasted."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from promptrank.basics.json_files import json_object
from promptrank.errors import DataError, ErrorRow
from promptrank.records import Request
from promptrank.requests.dicts import request_from_dict
from promptrank.workbench.desk import DeskTask
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import PARTS

PASTED = "pasted"
CANDIDATES = 100
"""Of one request, as many as are ranked while somebody types."""
_LISTED = 200
_KEPT = 64


@dataclass(frozen=True, slots=True)
class RequestChoice:
    """What the page shows of the choice.

    Attributes:
        file: of ``DeskTask.request_files``; None for a pasted request.
        parts: (part, number of requests) of the file; the part is "" where there is no split.
        part: the one chosen.
        request_id: the one chosen; "" where the part is empty.
        place: of it in the part, counted from 1, and ``of`` how many.
        listed: ids to choose from, some of many.
        problem: why another one is shown than was asked for.
    """

    file: Path | None
    parts: tuple[tuple[str, int], ...] = ()
    part: str = ""
    request_id: str = ""
    place: int = 0
    of: int = 0
    listed: tuple[str, ...] = ()
    problem: str | None = None


class RequestShelf:
    """Request files as the page leafs through them; from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ids: dict[tuple[Path, int, str], list[str]] = {}
        self._requests: OrderedDict[tuple[Path, int, str], Request] = OrderedDict()

    def choose(self, task: DeskTask, fields: Mapping[str, str]) -> RequestChoice:
        """The request that a form asks for, or the nearest there is.

        ``step`` is ``next`` or ``previous``; ``find`` is an id or the part of one.

        Raises:
            DataError: the file cannot be read.
        """
        if fields.get("source") == PASTED or not task.request_files:
            return RequestChoice(None)
        file = self._file(task, fields.get("source", ""))
        names = [p for p in reversed(PARTS) if self._of(task, file, p)]
        if task.opened.task.split is None or not names:
            names = [""]
        parts = tuple((name, len(self._of(task, file, name))) for name in names)
        part = fields.get("part", "")
        part = part if part in names else names[0]
        ids = self._of(task, file, part)
        if not ids:
            return RequestChoice(file, parts, part, problem=f"{file.name} holds no request")
        place, problem = _place(ids, fields)
        start = max(0, min(place - _LISTED // 2, len(ids) - _LISTED))
        listed = tuple(ids[start : start + _LISTED])
        return RequestChoice(file, parts, part, ids[place], place + 1, len(ids), listed, problem)

    def request(self, task: DeskTask, fields: Mapping[str, str]) -> Request:
        """The request that a form names.

        Raises:
            DataError: there is none, or it cannot be read; the message says what to do.
        """
        if fields.get("source") == PASTED or not task.request_files:
            return pasted(fields.get("pasted", ""))
        file = self._file(task, fields.get("source", ""))
        name = fields.get("request", "") or self.choose(task, fields).request_id
        key = (file, _stamp(file), name)
        with self._lock:
            if key in self._requests:
                return self._requests[key]
        unread: list[ErrorRow] = []
        part = fields.get("part", "")
        splits = {part} if part in PARTS else None
        opened = given_file(task.opened, file)
        for request in opened.read(splits, only={name}, errors=unread.append):
            with self._lock:
                self._requests[key] = request
                while len(self._requests) > _KEPT:
                    self._requests.popitem(last=False)
            return request
        reasons = "; ".join(row.message for row in unread if row.request_id == name)
        raise DataError(
            f"no request {name[:100]!r} in {file.name}{': ' if reasons else ''}{reasons}"
        )

    def _file(self, task: DeskTask, source: str) -> Path:
        known = {str(place): file for place, file in enumerate(task.request_files)}
        return known.get(source, task.request_files[0])

    def _of(self, task: DeskTask, file: Path, part: str) -> list[str]:
        """Ids of a part, in the order in which `--limit` samples them."""
        key = (file, _stamp(file), part)
        if key not in self._ids:
            if part and task.opened.task.split is None:
                return []
            self._ids[key] = given_file(task.opened, file).ids({part} if part else None)
        return self._ids[key]


def pasted(text: str) -> Request:
    """A request written as JSON, as ``/v1/rank`` takes it.

    Raises:
        DataError: it is none; the message says where.
    """
    if not text.strip():
        raise DataError("paste a request as JSON: an object with candidates, as /v1/rank takes it")
    data = json_object(text, "the request")
    if isinstance(data.get("request"), dict):
        data = data["request"]
    return request_from_dict(data)


def few(request: Request) -> Request:
    """The request with its first candidates, where it has very many."""
    if len(request.candidates) <= CANDIDATES:
        return request
    return replace(request, candidates=request.candidates[:CANDIDATES])


def _place(ids: list[str], fields: Mapping[str, str]) -> tuple[int, str | None]:
    wanted = fields.get("request", "")
    place = ids.index(wanted) if wanted in ids else 0
    match fields.get("step"):
        case "next":
            place = (place + 1) % len(ids)
        case "previous":
            place = (place - 1) % len(ids)
        case "find":
            part = fields.get("find", "").strip()
            matching = (i for i, name in enumerate(ids) if part in name)
            at = ids.index(part) if part in ids else next(matching, None)
            if at is None:
                return place, f"no request with {part[:60]!r} in its id in this part"
            place = at
    return place, None


def _stamp(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        raise DataError(f"{file.name} is gone; build it again, and reload the page") from None
