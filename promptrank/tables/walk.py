"""Walking sorted results of DuckDB side by side, holding no more than the part in hand."""

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import pyarrow as pa

Read = Callable[[str, str, int], pa.RecordBatchReader]
"""SQL, its place in the task file, rows in a batch -> its rows, in order."""


class Ahead:
    """A sorted stream of rows that can be read up to a key."""

    def __init__(self, reader: pa.RecordBatchReader, key: str) -> None:
        self._reader, self._key = reader, key
        self._held: list[pa.RecordBatch] = []
        self._over = False
        self.schema: pa.Schema = reader.schema

    def through(self, last: Any) -> pa.Table:
        """All rows not read so far whose key is at most ``last``, in one chunk."""
        taken: list[pa.RecordBatch] = []
        while True:
            while self._held:
                batch = self._held.pop(0)
                keys = batch.column(self._key)
                if keys[-1].as_py() <= last:
                    taken.append(batch)
                    continue
                cut = bisect_right(_Keys(keys), last)
                taken.append(batch.slice(0, cut))
                self._held.insert(0, batch.slice(cut))
                return _table(taken, self.schema)
            batch = self._read()
            if batch is None:
                return _table(taken, self.schema)
            self._held.append(batch)

    def _read(self) -> pa.RecordBatch | None:
        while not self._over:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                self._over = True
                return None
            if batch.num_rows:
                return batch
        return None


class _Keys:
    """A column seen as a sequence of Python values."""

    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, i: int) -> Any:
        return self._column[i].as_py()


def _table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(batches, schema).combine_chunks()


def column(table: pa.Table, name: str) -> pa.Array:
    """A column of a table as one array."""
    return one_array(table.column(name))


def one_array(chunked: pa.ChunkedArray) -> pa.Array:
    """A chunked array as one array."""
    if chunked.num_chunks == 1:
        return chunked.chunk(0)
    return pa.concat_arrays(chunked.chunks or [pa.array([], chunked.type)])
