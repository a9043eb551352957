"""A journal of finished rankings, so that a run that was killed goes on where it stopped.

An Arrow stream beside the output: first its schema, which bears a digest over everything that can
change a score, then one record for each finished request, with its rows of scores and of errors. A
run of the same digest skips the requests in it; another digest starts over. A torn last record, as
a kill leaves it, is dropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from promptrank.errors import ErrorRow

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
        replaced: whether a journal of another run was there.
    """

    def __init__(self, output: Path, digest: str, schema: pa.Schema) -> None:
        """Open it, or go on with the one that is there.

        Args:
            schema: of the rows of scores.
        """
        self.path = output.with_name(output.name + ".partial")
        self.done: set[str] = set()
        self.others = False
        self._rows = schema
        rows = pa.list_(pa.struct(list(schema)))
        columns = [("request_id", pa.string()), ("rows", rows), ("errors", pa.list_(_ERRORS))]
        self._schema = pa.schema(columns, metadata={_DIGEST: digest.encode()})
        there = self.path.is_file()
        end = 0
        for entry, stop in self._entries() if there else ():
            end = stop
            if entry is not None:
                self._note(entry.request_id)
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
        """Every finished request, in the order in which they finished."""
        self._file.flush()
        return (entry for entry, _ in self._entries() if entry is not None)

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
        self._file.close()

    def _write(self, message: pa.Buffer) -> None:
        self._file.write(message)
        self._file.flush()

    def _note(self, request_id: str) -> None:
        if request_id:
            self.done.add(request_id)
        else:
            self.others = True

    def _entries(self) -> Iterator[tuple[Entry | None, int]]:
        """What can be read, each with where it ends; first None for a schema that is this run's."""
        with pa.OSFile(str(self.path)) as file:
            size = file.size()
            try:
                schema = pa.ipc.read_schema(file)
                if not schema.equals(self._schema, check_metadata=True):
                    return
                yield None, file.tell()
                while file.tell() < size:
                    message = pa.ipc.read_message(file)
                    batch = pa.ipc.read_record_batch(message, schema)
                    yield self._entry(batch), file.tell()
            except (OSError, EOFError, pa.ArrowException):
                return  # torn, or no journal at all

    def _entry(self, batch: pa.RecordBatch) -> Entry:
        rows = pa.RecordBatch.from_struct_array(batch.column(1).flatten()).cast(self._rows)
        return Entry(batch.column(0)[0].as_py(), rows, batch.column(2)[0].as_py())


def _plain(error: ErrorRow) -> dict[str, str | None]:
    return {k: None if v is None else _utf8(v) for k, v in asdict(error).items()}


def _utf8(text: str) -> str:
    """A lone surrogate, which UTF-8 has no form for, as an escape."""
    return text.encode("utf-8", "backslashreplace").decode()
