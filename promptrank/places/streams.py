"""Arrow batches as they come, into a parquet file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.files import beside
from promptrank.errors import DataError


def write_stream(batches: pa.RecordBatchReader, path: Path, name: str) -> None:
    """Write batches to a parquet file as they come, without types that only a database has.

    Args:
        name: of what they are read from, for messages.

    Raises:
        DataError: what fails while they come.
    """
    schema = pa.schema([pa.field(f.name, _storage(f.type)) for f in batches.schema])
    with (
        beside(path) as part,
        pq.ParquetWriter(part, schema, compression="zstd", store_schema=False) as writer,
    ):
        for batch in _read(batches, name):
            arrays = [_stored(column) for column in batch.columns]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def one_line(name: str, error: Exception) -> DataError:
    """What a driver raised, as one sentence about ``name``."""
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return DataError(f"{name}: {text.partition('[libpq] ')[2] or text}"[:600])


def _read(batches: pa.RecordBatchReader, name: str) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            batch = batches.read_next_batch()
        except StopIteration:
            return
        except (OSError, pa.ArrowException) as error:  # Arrow has the driver's words in its own
            raise one_line(name, error) from None
        yield batch


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _stored(column: Any) -> Any:
    return column.storage if isinstance(column.type, pa.BaseExtensionType) else column
