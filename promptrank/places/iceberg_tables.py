"""Iceberg tables without their catalog: a folder with ``metadata/``, or one of its metadata files.

Which metadata file is the current one is known to the catalog alone. Of a folder the one with the
highest number is taken.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from promptrank.basics.addresses import is_object
from promptrank.errors import DataError, InputError
from promptrank.places.object_store import names_below
from promptrank.places.streams import write_stream

METADATA = ".metadata.json"
"""How names of metadata files end."""
_SNAPSHOT = re.compile(r"(?P<place>.+)@(?P<snapshot>\d{1,19})", re.DOTALL)
_NUMBERED = re.compile(r"v?(?P<number>\d+)(-.*)?\.metadata\.json", re.DOTALL)


def is_iceberg(name: str) -> bool:
    """Whether a folder or its address holds an Iceberg table; a snapshot may stand behind it.

    A metadata file is one too.
    """
    place, _ = _parts(name)
    return place.endswith(METADATA) or bool(_metadata_files(place))


def read_iceberg(name: str, path: Path) -> None:
    """Write the rows of an Iceberg table, or of a snapshot of it, to a parquet file.

    Raises:
        DataError: no such table or snapshot, or one that cannot be read.
        InputError: the extra is not installed.
    """
    try:
        from pyiceberg.table import StaticTable
    except ImportError:
        raise InputError(
            f"{name}: an Iceberg table needs the extra iceberg: pip install 'promptrank[iceberg]'"
        ) from None
    place, snapshot = _parts(name)
    file = place if place.endswith(METADATA) else _newest(name, _metadata_files(place))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    options = {"s3.endpoint": endpoint} if file.startswith("s3://") and endpoint else {}
    with _told(name):
        table = StaticTable.from_metadata(file, options)
        if snapshot is not None and table.snapshot_by_id(snapshot) is None:
            raise DataError(f"{name}: the Iceberg table has no such snapshot{_snapshots(table)}")
        rows = table.scan(snapshot_id=snapshot).to_arrow_batch_reader()
        write_stream(rows, path, name)


def _parts(name: str) -> tuple[str, int | None]:
    """A table's folder or metadata file and, of ``folder@3018``, the snapshot."""
    parts = _SNAPSHOT.fullmatch(name)
    return (parts["place"], int(parts["snapshot"])) if parts else (name, None)


def _metadata_files(place: str) -> list[str]:
    if is_object(place):
        names = names_below(f"{place.rstrip('/')}/metadata")
    else:
        names = [str(path) for path in (Path(place) / "metadata").glob(f"*{METADATA}")]
    return [name for name in names if _NUMBERED.fullmatch(name.rpartition("/")[2])]


def _newest(name: str, files: list[str]) -> str:
    """DataError where two have the highest number, of which one was never committed."""
    numbers = {file: _number(file) for file in files}
    newest = [file for file, number in numbers.items() if number == max(numbers.values())]
    if len(newest) > 1:
        raise DataError(
            f"{name}: two metadata files have the highest number; name the one that the catalog "
            f"says is current, such as {newest[0]}"
        )
    return newest[0]


def _number(file: str) -> int:
    parts = _NUMBERED.fullmatch(file.rpartition("/")[2])
    return int(parts["number"]) if parts else -1


def _snapshots(table: Any) -> str:
    last = table.current_snapshot()
    return f"; the current one is {last.snapshot_id}" if last is not None else ""


@contextmanager
def _told(name: str) -> Iterator[None]:
    from pyiceberg.exceptions import ValidationError

    try:
        yield
    except ValidationError:  # its text is pydantic's, about models that no user knows
        raise _damaged(name, "its metadata file is not as the format says") from None
    except (DataError, FileNotFoundError) as error:
        told = str(error)
        if "no such snapshot" in told:
            raise
        if (gone := re.search(r"open (?:local file )?'([^']+)'", told)) is None:
            gone = re.search(r"key '([^']+)'", told)
        if isinstance(error, DataError) and gone is None:
            raise _damaged(name, told.removeprefix(f"{name}: ")) from None
        raise DataError(
            f"{name}: a file of the Iceberg table is gone: {gone[1] if gone else told}. Its "
            "metadata has whole paths, so a table that was copied or moved is not read; restore "
            "the file, or name another snapshot, as folder@snapshot"
        ) from None
    except (OSError, ValueError, EOFError, NotImplementedError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a local file
            raise
        raise _damaged(name, str(error) or type(error).__name__) from None


def _damaged(name: str, reason: str) -> DataError:
    first = reason.splitlines()[0][:200]
    return DataError(
        f"{name}: a file of the Iceberg table is damaged, or of a kind that is not read ({first}); "
        "restore it, or export the table as parquet"
    )
