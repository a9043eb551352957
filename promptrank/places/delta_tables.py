"""Delta Lake tables: a folder with a ``_delta_log``, local or in an object store."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from promptrank.basics.addresses import is_object
from promptrank.errors import DataError, InputError
from promptrank.places.object_store import names_below
from promptrank.places.streams import write_stream

_VERSION = re.compile(r"(?P<place>.+)@(?P<version>\d+)", re.DOTALL)
_LOG = "_delta_log"


def delta_version(name: str) -> tuple[str, int | None]:
    """A table's folder and, of ``folder@12``, the version."""
    parts = _VERSION.fullmatch(name)
    return (parts["place"], int(parts["version"])) if parts else (name, None)


def is_delta(name: str) -> bool:
    """Whether a folder or the address of one holds a Delta table; a version may stand behind it."""
    place, _ = delta_version(name)
    if is_object(place):
        return bool(names_below(f"{place.rstrip('/')}/{_LOG}"))
    return (Path(place) / _LOG).is_dir()


def is_iceberg(folder: Path) -> bool:
    """Whether a folder holds an Iceberg table, which is not read here."""
    return any((folder / "metadata").glob("*.metadata.json"))


def read_delta(name: str, path: Path) -> None:
    """Write the rows of a Delta table, or of a version of it, to a parquet file.

    Raises:
        DataError: no such table or version, or one that cannot be read.
        InputError: the extra is not installed.
    """
    try:
        from deltalake import DeltaTable, QueryBuilder
    except ImportError:
        raise InputError(
            f"{name}: a Delta table needs the extra delta: pip install 'promptrank[delta]'"
        ) from None
    place, version = delta_version(name)
    options = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if place.startswith("s3://") and endpoint is not None:
        options = {"aws_endpoint_url": endpoint}
        if endpoint.startswith("http://"):
            options["allow_http"] = "true"
    with _told(name):
        table = DeltaTable(place, version=version, storage_options=options or None)
        rows = QueryBuilder().register("rows", table).execute('SELECT * FROM "rows"')
        write_stream(pa.RecordBatchReader.from_stream(rows), path, name)


@contextmanager
def _told(name: str) -> Iterator[None]:
    from deltalake.exceptions import DeltaError, TableNotFoundError

    try:
        yield
    except TableNotFoundError:
        raise DataError(f"{name}: there is no such Delta table or version") from None
    except (DeltaError, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a local file
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        raise DataError(f"{name}: cannot be read as a Delta table: {lines[0][:300]}") from None
