"""A journal of finished rankings, so that a run that was killed goes on where it stopped.

Records of Arrow messages beside the output: first a schema, which bears a digest over everything
that can change a score, then one record for each finished request, with its rows of scores and of
errors. A run of the same digest skips the requests in it; another digest starts over.

A record is believed only if it is as it was written (`promptrank.runs.journal_records`), is of a
request of this run that no record before it is of, and its rows are that request's, each candidate
once. The first that is not, and all that follow it, are dropped and scored again, so that the
output is what an unbroken run writes.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from promptrank.basics.paths import naming
from promptrank.errors import DataError, ErrorRow
from promptrank.runs.journal_records import START, RecordReader, next_link, record

_DIGEST = b"promptrank.run"
_ERRORS = pa.struct(
    [(name, pa.string()) for name in ("request_id", "candidate_id", "stage", "reason", "message")]
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A finished request; what belongs to no request stands under an empty id."""

    request_id: str
    rows: pa.RecordBatch
    errors: list[dict[str, Any]]


class Journal:
    """Finished requests, appended to ``<output>.partial``.

    Attributes:
        done: ids of the requests it holds.
        others: whether it holds rows that belong to no request.
        replaced: whether a journal of another run was there, or one whose start is damaged.
        damaged: whether records were dropped that a kill does not explain.
    """

    def __init__(
        self, output: Path, digest: str, schema: pa.Schema, ids: Collection[str] | None = None
    ) -> None:
        """Open it, or go on with the one that is there.

        Args:
            schema: of the rows of scores.
            ids: of the run's requests; a record of another one is not believed.
        """
        self.path = output.with_name(output.name + ".partial")
        self.done: set[str] = set()
        self.others = self.damaged = False
        self._rows, self._ids = schema, ids
        rows = pa.list_(pa.struct(list(schema)))
        columns = [("request_id", pa.string()), ("rows", rows), ("errors", pa.list_(_ERRORS))]
        self._schema = pa.schema(columns, metadata={_DIGEST: digest.encode()})
        there = self.path.is_file()
        end, self._link = 0, START
        if there:
            with self.path.open("rb") as file:
                reader = RecordReader(file)
                for entry in self._believed(reader):
                    self._note(entry.request_id)
                end, self._link, self.damaged = reader.end, reader.link, reader.damaged
        self.replaced = there and not end
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("r+b" if end else "wb")
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._write(self._schema.serialize())

    def add(self, request_id: str, rows: pa.RecordBatch, errors: Sequence[ErrorRow]) -> None:
        """Record one finished request."""
        values = pa.StructArray.from_arrays(rows.columns, fields=list(self._rows))
        plain = [_plain(error) for error in errors]
        batch = pa.RecordBatch.from_arrays(
            [
                pa.array([_utf8(request_id)]),
                pa.ListArray.from_arrays([0, len(values)], values),
                pa.array([plain], pa.list_(_ERRORS)),
            ],
            schema=self._schema,
        )
        self._write(batch.serialize())
        self._note(request_id)

    def entries(self) -> Iterator[Entry]:
        """Every finished request, in the order in which they finished.

        Raises:
            DataError: the file has changed since it was opened.
        """
        self._file.flush()
        count = 0
        with self.path.open("rb") as file:
            for entry in self._believed(RecordReader(file)):
                yield entry
                count += 1
        if count != len(self.done) + self.others:
            raise DataError(
                f"{self.path}: was damaged or changed while it was written; run the same command "
                "again, and what is lost is scored again"
            )

    def finish(self) -> None:
        """Remove the journal: its output is complete."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with naming(self.path):  # what a full disk did not take is tried once more
            self._file.close()

    def _write(self, message: pa.Buffer) -> None:
        payload = message.to_pybytes()
        with naming(self.path):
            self._file.write(record(self._link, payload))
            self._file.flush()
        self._link = next_link(self._link, payload)

    def _note(self, request_id: str) -> None:
        if request_id:
            self.done.add(request_id)
        else:
            self.others = True

    def _believed(self, reader: RecordReader) -> Iterator[Entry]:
        """Entries up to the first that cannot be believed; none where the schema is another."""
        seen: set[str] = set()
        payloads = iter(reader)
        try:
            schema = pa.ipc.read_schema(pa.py_buffer(next(payloads, b"")))
            if not schema.equals(self._schema, check_metadata=True):
                return
            for payload in payloads:
                entry = self._entry(payload)
                if entry.request_id in seen or not self._fits(entry):
                    reader.damaged = True
                    return
                seen.add(entry.request_id)
                yield entry
        except (OSError, EOFError, ValueError, pa.ArrowException):
            reader.damaged = True  # whole, and still no record: something else wrote it

    def _fits(self, entry: Entry) -> bool:
        """Whether it is of a request of this run, and its rows are that request's alone."""
        name = entry.request_id
        if name and self._ids is not None and name not in self._ids:
            return False
        columns = (entry.rows.column(key).to_pylist() for key in ("request_id", "candidate_id"))
        requests, candidates = columns
        return (not requests or set(requests) == {name}) and len(set(candidates)) == len(candidates)

    def _entry(self, payload: bytes) -> Entry:
        message = pa.ipc.read_message(pa.py_buffer(payload))
        batch = pa.ipc.read_record_batch(message, self._schema)
        batch.validate(full=True)
        rows = pa.RecordBatch.from_struct_array(batch.column(1).flatten()).cast(self._rows)
        return Entry(batch.column(0)[0].as_py(), rows, batch.column(2)[0].as_py())


def _plain(error: ErrorRow) -> dict[str, str | None]:
    return {k: None if v is None else _utf8(v) for k, v in asdict(error).items()}


def _utf8(text: str) -> str:
    """A lone surrogate, which UTF-8 has no form for, as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
