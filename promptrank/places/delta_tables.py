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

_VERSION = re.compile(r"(?P<place>.+)@(?P<version>\d{1,18})", re.DOTALL)
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
        raise DataError(f"{name}: there is no such Delta table; look at the path") from None
    except (DeltaError, DataError, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a local file
            raise
        raise DataError(f"{name}: {_wrong(str(error))}") from None


def _wrong(told: str) -> str:
    """What delta-rs raised, in our words; its own stand in brackets where we know none."""
    place = r"[^/\s]+\.parquet"
    if "specified end version" in told:
        last = re.search(r"end version (\d+) not", told)
        there = f"; its last one is {last[1]}" if last else ""
        return f"the Delta table has no such version{there}"
    if re.search(r"error sending request|Generic (S3|HTTP) error", told) is not None:
        return "the store of the Delta table cannot be reached, or refuses its keys; try again"
    if (file := re.search(place, told)) is not None:
        return (
            f"a file of the Delta table is gone or damaged: {file[0]}; restore it, or name a "
            "version that does not need it, as folder@version"
        )
    first = (told.splitlines() or [""])[0].removeprefix("Kernel error: ")[:200]
    return (
        f"the log of the Delta table (_delta_log) is damaged, or of a kind that is not read "
        f"({first}); restore it, or export the table as parquet"
    )
