"""Scores of an earlier run, for the requests whose prompts have not changed since."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from promptrank.basics.scratch import scratch
from promptrank.basics.seals import read_sealed
from promptrank.errors import DataError
from promptrank.records import Request
from promptrank.runs import shards
from promptrank.runs.run_identity import RUN


class Since:
    """The scores of a run by request; what is read of it at a time is one shard."""

    def __init__(self, folder: Path, index: sqlite3.Connection, whole: bool) -> None:
        self._folder, self._index, self._whole = folder, index, whole
        self._at: int | None = None
        self._table: pa.Table | None = None

    def known(self, request_id: str, prompt: str, content: str) -> bool:
        """Whether the run scored this request from the same prompts."""
        return self._shard(request_id, prompt, content) is not None

    def rows(self, request: Request, prompt: str, content: str) -> pa.Table:
        """Its rows of scores, with the new request's own time and part."""
        number = self._shard(request.request_id, prompt, content)
        assert number is not None
        if number != self._at:
            self._at = number
            shard = shards.read_shard(self._folder, number)
            paths = shards.scores_paths(self._folder, shard)
            self._table = pa.concat_tables(pq.read_table(path, partitioning=None) for path in paths)
        assert self._table is not None
        rows = self._table.filter(pc.equal(self._table.column("request_id"), request.request_id))
        for name, value in (("time", request.time), ("split", request.split)):
            place = rows.schema.get_field_index(name)
            column = pa.array([value] * len(rows), rows.schema.field(name).type)
            rows = rows.set_column(place, rows.schema.field(name), column)
        return rows

    def _shard(self, request_id: str, prompt: str, content: str) -> int | None:
        query = "SELECT prompt, content, shard FROM known WHERE request_id = ?"
        row = self._index.execute(query, (request_id,)).fetchone()
        if row is None or row[0] != prompt or (self._whole and row[1] != content):
            return None
        return int(row[2])


@contextmanager
def scored_since(folder: Path, whole: bool) -> Iterator[Since]:
    """Open a run to take scores over from; shards of another run that lie there are not its own.

    Args:
        whole: whether scores depend on more of a request than its prompts, as with steps.

    Raises:
        DataError: its ``run.json`` or a shard of it is damaged.
    """
    identity = read_sealed(folder / RUN, then="name the folder of a run after --since")["identity"]
    with scratch() as place:
        index = sqlite3.connect(place / "known.sqlite")
        try:
            index.execute(
                "CREATE TABLE known (request_id TEXT PRIMARY KEY, prompt TEXT, content TEXT, "
                "shard INTEGER) WITHOUT ROWID"
            )
            for number in shards.numbers(folder):
                shard = shards.read_shard(folder, number)
                if shard.identity != identity:
                    continue
                if wrong := shards.damage(folder, shard):
                    raise DataError(f"{wrong}; run the command that made {folder} again")
                table = pq.read_table(shards.prompts_path(folder, number), partitioning=None)
                columns = [table.column(name).to_pylist() for name in shards.PROMPTS.names]
                rows = ((*row, number) for row in zip(*columns, strict=True))
                index.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?)", rows)
            index.commit()
            yield Since(folder, index, whole)
        finally:
            index.close()
