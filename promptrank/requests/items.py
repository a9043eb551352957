"""Items by row or by id, over a memory-mapped snapshot."""

from collections.abc import Callable, Collection, Hashable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from promptrank.basics.digests import file_digest
from promptrank.errors import DataError
from promptrank.records import Item
from promptrank.requests.decode import decode

ID, SINCE = "__id", "__since"
"""A snapshot's first columns: the item's id, and the time from which the row is valid."""
BATCH = 4096
"""Rows in each of a snapshot's batches but the last."""


class ItemTable:
    """The rows of a snapshot as `Item` objects.

    Attributes:
        digest: SHA-256 of the snapshot; items of equal snapshots have equal keys.
        row: the item in a row; the same object again while it is among the latest asked for.

    Memory: the file is mapped, and the ``cached`` latest items are held as Python objects.
    """

    row: Callable[[int], Item]

    def __init__(self, path: Path, *, expected: str | None = None, cached: int = 65536) -> None:
        """Map a snapshot.

        Args:
            expected: the digest that it must have, looked at before Arrow sees the file.
            cached: so many items are held.

        Raises:
            DataError: no snapshot, or another one.
        """
        try:
            self.digest = file_digest(path)
            if expected not in (None, self.digest):
                raise DataError(
                    f"{path}: not the items that its requests were built with, or damaged since; "
                    "build again"
                )
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: not a readable item snapshot ({error})") from error
        names: list[str] = reader.schema.names
        if names[:2] != [ID, SINCE] or any(b.num_rows != BATCH for b in self._batches[:-1]):
            raise DataError(f"{path}: not an item snapshot; write it with promptrank build")
        self._names = tuple(names[2:])
        self._direct = [_is_direct(kind) for kind in reader.schema.types]
        self._prefix: Hashable = self.digest[:12]
        self._size: int = sum(batch.num_rows for batch in self._batches)
        self.row = lru_cache(maxsize=cached)(self._row)

    def __len__(self) -> int:
        return self._size

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that every item has."""
        return self._names

    def _row(self, number: int) -> Item:
        if not 0 <= number < self._size:
            raise DataError(f"item_row {number} is outside the snapshot of {self._size} rows")
        batch, i = self._batches[number // BATCH], number % BATCH
        fields = {n: self._value(batch.column(c), c, i) for c, n in enumerate(self._names, 2)}
        return Item(batch.column(0)[i].as_py(), fields, (self._prefix, number))

    def _value(self, column: pa.Array, place: int, i: int) -> Any:
        return column[i].as_py() if self._direct[place] else decode(column.slice(i, 1))[0]

    def id_at(self, number: int) -> str:
        """The id of a row, without making the item."""
        return str(self._batches[number // BATCH].column(0)[number % BATCH].as_py())

    def _since(self, number: int) -> float | None:
        since: float | None = self._batches[number // BATCH].column(1)[number % BATCH].as_py()
        return since

    def known(
        self, time: float | None = None, names: Collection[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Fields of each item as it was known just before ``time``, a batch in memory at a time.

        Without a time, of its latest row; an item that was not known yet is left out.

        Args:
            names: only fields of these names.
        """
        places = [i for i, n in enumerate(self._names, 2) if names is None or n in names]
        waiting: tuple[str, dict[str, Any]] | None = None
        for batch in self._batches:
            ids, since = batch.column(0).to_pylist(), batch.column(1).to_pylist()
            columns = [decode(batch.column(place)) for place in places]
            for i, item_id in enumerate(ids):
                if time is not None and since[i] is not None and since[i] >= time:
                    continue
                if waiting is not None and waiting[0] != item_id:
                    yield waiting[1]
                row = {self._names[p - 2]: c[i] for p, c in zip(places, columns, strict=True)}
                waiting = item_id, row
        if waiting is not None:
            yield waiting[1]

    def find(self, item_id: str, time: float | None = None) -> Item | None:
        """The item as it was known just before ``time``, or None if it was not known yet.

        Without a time, its latest row.
        """
        low, high = 0, self._size
        while low < high:  # first row that lies beyond what is wanted
            middle = (low + high) // 2
            here = self.id_at(middle)
            since = self._since(middle) if here == item_id else None
            late = since is not None and time is not None and since >= time
            if here > item_id or (here == item_id and late):
                high = middle
            else:
                low = middle + 1
        if low == 0 or self.id_at(low - 1) != item_id:
            return None
        return self.row(low - 1)


def _is_direct(kind: pa.DataType) -> bool:
    """Whether a single value is what `decode` gives, had more quickly."""
    return bool(pt.is_string(kind) or pt.is_integer(kind) or pt.is_boolean(kind))
