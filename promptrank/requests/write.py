"""Files written beside and renamed: tables as parquet or JSONL, row by row or by batches."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.files import beside
from promptrank.errors import DataError
from promptrank.requests.decode import rows_of


def line_of(row: Mapping[str, Any]) -> bytes:
    """One line of JSON; what JSON has no form for (dates, for one) as text."""
    given = {k: v for k, v in row.items() if v is not None}
    text = json.dumps(given, ensure_ascii=False, separators=(",", ":"), default=str)
    # A lone surrogate has no UTF-8 form; JSON's own escape keeps the rest of the row readable.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def check_suffix(path: Path) -> None:
    """DataError unless the path ends in .parquet or .jsonl."""
    if path.suffix not in (".parquet", ".jsonl"):
        raise DataError(f"{path}: end the name in .parquet or .jsonl")


class TableWriter:
    """Writes one table as it comes; the file appears under its name when all went well.

    A context manager: leaving it by an error removes what was written. Parquet needs a schema, of
    which rows may leave columns out (NULL); JSONL takes any rows, and leaves NULL columns out.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        check_suffix(path)
        self.path, self.rows = path, 0
        self._schema = schema.with_metadata(dict(metadata or {})) if schema is not None else None
        self._parquet: pq.ParquetWriter | None = None
        if path.suffix == ".parquet" and self._schema is None:
            raise ValueError("parquet needs a schema")
        with ExitStack() as stack:
            part = stack.enter_context(beside(path))
            if path.suffix == ".parquet":
                writer = pq.ParquetWriter(
                    part,
                    self._schema,
                    compression="zstd",
                    store_schema=True,
                    write_page_checksum=True,
                )
                self._parquet = stack.enter_context(writer)
            else:
                self._file = stack.enter_context(part.open("wb"))
            # First the file is closed, then it is renamed.
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def write_rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append plain rows."""
        if self._parquet is not None:
            self._parquet.write_table(pa.Table.from_pylist(list(rows), schema=self._schema))
        else:
            self._file.writelines(map(line_of, rows))
        self.rows += len(rows)

    def write_table(self, table: pa.Table) -> None:
        """Append an Arrow table; its columns are those of the schema."""
        if self._parquet is not None:
            self._parquet.write_table(table)
            self.rows += table.num_rows
            return
        for batch in table.to_batches():
            self.write_rows(rows_of(batch))


def write_table(
    path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema | None = None
) -> int:
    """Write rows to .parquet (by ``schema``) or .jsonl; returns how many."""
    with TableWriter(path, schema) as writer:
        waiting: list[Mapping[str, Any]] = []
        for row in rows:
            waiting.append(row)
            if len(waiting) == 8192:
                writer.write_rows(waiting)
                waiting = []
        if waiting:
            writer.write_rows(waiting)
    return writer.rows
