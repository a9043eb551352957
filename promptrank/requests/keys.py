"""Which candidates stand in a request file, without reading whole requests."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from promptrank.errors import RowError
from promptrank.requests.cells import text
from promptrank.requests.row_parts import column_batches, parts

_SUBJECT = ("member_id", "query_id", "source_id")
_KEY = ("request_id", "candidate_id", "item_id", *_SUBJECT)


@dataclass(frozen=True, slots=True)
class CandidateKey:
    """What tells a candidate: ids of its request, of itself, and of whom it is for."""

    request_id: str
    candidate_id: str
    subject_id: str


def keys_in(path: Path, wanted: Collection[str]) -> Iterator[CandidateKey]:
    """Those candidates of a request file that have one of these ids.

    Raises:
        DataError: no request file.
    """
    if path.suffix == ".parquet":
        yield from _parquet(path, wanted)
        return
    name, subject = None, ""
    for part in parts(path):
        for cells in zip(*(part.rows[column] for column in _KEY), strict=True):
            try:
                request, candidate, item, *subjects = (text(cell, "id") for cell in cells)
            except RowError:
                continue  # whoever reads the requests reports it
            if request != name:
                # What belongs to the request as a whole stands in its first row.
                name, subject = request, _first(subjects)
            candidate = candidate or item
            if request and candidate in wanted and candidate is not None:
                yield CandidateKey(request, candidate, subject)


def _parquet(path: Path, wanted: Collection[str]) -> Iterator[CandidateKey]:
    ids = pa.array(sorted(wanted), pa.string())
    for batch in column_batches(path, _KEY):
        columns = {
            name: batch.column(name).cast(pa.string())
            if name in batch.schema.names
            else pa.nulls(batch.num_rows, pa.string())
            for name in _KEY
        }
        own = pc.if_else(pc.equal(columns["candidate_id"], ""), None, columns["candidate_id"])
        columns["candidate_id"] = pc.coalesce(own, columns["item_id"])
        mine = pa.table(columns).filter(pc.is_in(columns["candidate_id"], value_set=ids))
        for row in mine.to_pylist():
            if row["request_id"]:
                subject = _first([row[name] for name in _SUBJECT])
                yield CandidateKey(row["request_id"], row["candidate_id"], subject)


def _first(subjects: list[Any]) -> str:
    return next((name for name in subjects if name is not None), "")
