"""A request file as verbs work on it: opened once, its chosen requests decoded once."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from promptrank.errors import ErrorRow
from promptrank.records import Request
from promptrank.requests.corrections import Corrections
from promptrank.requests.format import items_path_of
from promptrank.requests.items import ItemTable
from promptrank.requests.marks import FileMark, IdHashes, Marker, seen_before
from promptrank.requests.obscure import Obscuring
from promptrank.requests.read import OwnItems, read_requests
from promptrank.requests.sampling import request_ids
from promptrank.schema.task import Task

HELD = 20_000
"""So many requests stay in memory; more are decoded again each time they are wanted."""


@dataclass(slots=True)
class RequestFile:
    """A request file of a task.

    Attributes:
        task: gives the answers that outcomes may name.
        own_items: opens the task's item table, for files without items of their own.
        stamp: tells the state of what ``own_items`` opens, as plain values.
        corrections: laid on its labels wherever they are read.
        set_aside: rows that building it set aside; of a given file, `build` has told them.
        decoded: requests decoded from it so far.
    """

    path: Path
    task: Task
    own_items: OwnItems | None = None
    set_aside: tuple[ErrorRow, ...] = ()
    stamp: Callable[[], Any] | None = None
    corrections: Corrections | None = None
    decoded: int = 0

    def read(
        self,
        splits: set[str] | None = None,
        only: set[str] | None = None,
        errors: Callable[[ErrorRow], None] | None = None,
        after: FileMark | None = None,
        hashes: Sequence[IdHashes] = (),
        marker: Marker | None = None,
    ) -> Iterator[Request]:
        """The requests of these parts (None: all), in the order of the file, lazily.

        Args:
            only: leave out requests of other ids.
            errors: is given each row that cannot be read.
            after: go on behind this mark, which a reader of the same parts left.
            hashes: of the ids that it had come to by then.
            marker: is kept where the reader is.
        """
        marker = Marker() if marker is None else marker
        seen, again = None, 0
        if after is not None:
            marker.mark, seen, again = after, dict(seen_before(hashes, after)), after.drawn

        def tell(row: ErrorRow) -> None:
            if errors is not None and again == 0:
                errors(row)

        for request in read_requests(
            self.path,
            task=self.task,
            own_items=self.own_items,
            splits=splits,
            errors=tell,
            marker=marker,
            seen=seen,
        ):
            self.decoded += 1
            marker.mark = replace(marker.mark, drawn=marker.mark.drawn + 1)
            if again:  # it was read before, and so were the rows that could not be
                again -= 1
                marker.ids.clear()
                continue
            if only is None or request.request_id in only:
                yield request if self.corrections is None else self.corrections(request)

    def labels_stamp(self) -> Any:
        """What tells the labels that it does not hold itself, for the identity of what is made.

        A decoder's scores do not depend on labels and go without it; a baseline learned from them.
        """
        return None if self.corrections is None else {"corrections": self.corrections.digest}

    def items_stamp(self) -> Any:
        """What tells the items that it takes from elsewhere, for the identity of a run.

        None where it has a snapshot of its own, which its digest covers.
        """
        own = items_path_of(self.path).is_file()
        return None if own or self.stamp is None else self.stamp()

    @contextmanager
    def catalogue(self) -> Iterator[ItemTable | None]:
        """The table that items come from: the snapshot beside the file, else the task's own.

        None where there is neither.
        """
        beside = items_path_of(self.path)
        if beside.is_file():
            yield ItemTable(beside)
        elif self.own_items is not None:
            with self.own_items() as table:
                yield table
        else:
            yield None

    def ids(self, splits: set[str] | None = None, limit: int | None = None) -> list[str]:
        """Ids of the requests of these parts; at most ``limit``, sampled by a hash of the ids."""
        return request_ids(self.path, splits, limit)


class Sample:
    """The chosen requests of a file, as often as they are wanted.

    Attributes:
        ids: which they are.
        lost: rows that could not be read, by request (under an empty id where they name none);
            complete once all requests have been read.
        edit: changes each request on its way out; None where they are as the file has them.
        told: what scores of changed requests say of the change in their origin.
    """

    edit: Callable[[Request], Request] | None = None
    told: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        file: RequestFile,
        splits: set[str] | None = None,
        limit: int | None = None,
        *,
        ids: set[str] | None = None,
    ) -> None:
        """Choose requests of these parts.

        Args:
            limit: at most this many, sampled by a hash of their ids.
            ids: the choice itself, where it is made already.
        """
        self.file, self.splits = file, splits
        self.ids = set(file.ids(splits, limit)) if ids is None else ids
        self.lost: dict[str, list[ErrorRow]] = {}
        self._held: list[Request] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Request]:
        if self._held is not None:
            requests = iter(self._held)
        else:
            self.lost.clear()
            requests = self.file.read(self.splits, self.ids, self._lose)
        return requests if self.edit is None else map(self.edit, requests)

    def obscured(self, obscuring: Obscuring) -> "Sample":
        """The same requests with made-up texts; what is held is shared."""
        return self.edited(obscuring, obscured=obscuring.fields)

    def edited(self, edit: Callable[[Request], Request] | None, **told: Any) -> "Sample":
        """The same requests, changed; what is held is shared.

        Args:
            edit: None where it is not the requests that a ranker sees otherwise.
            told: fields of `promptrank.scores.origin.Origin`, so that scores of changed requests
                never pass for plain ones.
        """
        sample = copy(self)
        sample.edit, sample.told = edit, told
        return sample

    def hold(self, watch: Callable[[Request], None] | None = None) -> None:
        """Decode them now, and keep them in memory where they are not more than `HELD`.

        Args:
            watch: is shown every request of the file on the way, whatever its part.
        """
        self.lost.clear()
        chosen = []
        for request in self.file.read(None if watch else self.splits, None, self._lose):
            if watch is not None:
                watch(request)
            if request.request_id in self.ids and len(self.ids) <= HELD:
                chosen.append(request)
        if len(self.ids) <= HELD:
            self._held = chosen

    def _lose(self, row: ErrorRow) -> None:
        self.lost.setdefault(row.request_id or "", []).append(row)
