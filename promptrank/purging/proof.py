"""The proof of a purge: every value of every file is looked at for the id, compressed ones too.

Of parquet also what no reader shows: dictionaries, statistics and metadata. Of SQLite every cell,
and the bytes of free pages and of the write-ahead log.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.errors import DataError
from promptrank.purging.purged_subject import ITEMS, PurgedSubject, as_id

_RAW = 6  # bytes of an id from which finding them in a file's bytes is no accident
_BLOCK, _LAP = 1 << 22, 1 << 12


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A place within a file where the id stands.

    Attributes:
        path: of a file, or an address.
        where: a column, a key, or what else it is in; never the text itself.
        item: whether it stands there as an id of an item.
    """

    path: Path | str
    where: str
    item: bool = False


def files_below(folder: Path) -> list[Path]:
    """Every file of a folder, hidden ones too."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def occurrences(path: Path, subject: PurgedSubject) -> Iterator[Occurrence]:
    """Where the id stands in a file, once for each column, key or statistic.

    Raises:
        DataError: the file cannot be read, so nothing is proved of it.
    """
    seen: set[tuple[str, bool]] = set()
    for where, value, field in _values(path, subject):
        if subject.stands_in(value, field):
            # A person whose id is known to be no item's does not stand where items do.
            item = field in ITEMS and as_id(value) == subject.id
            if (where, item) not in seen:
                seen.add((where, item))
                yield Occurrence(path, where, item)


_Value = tuple[str, Any, str]  # where it stands, the value, the name of its field


def _values(path: Path, subject: PurgedSubject) -> Iterator[_Value]:
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if head.startswith(b"PAR1"):
            yield from _parquet(path)
        elif head.startswith(b"ARROW1"):
            with pa.memory_map(str(path)) as mapped:
                reader = pa.ipc.open_file(mapped)
                yield from _metadata(reader.schema.metadata)
                for number in range(reader.num_record_batches):
                    yield from _table(pa.Table.from_batches([reader.get_batch(number)]))
        elif head.startswith(b"SQLite format 3"):
            yield from _sqlite(path)
            yield from ((f"bytes of {name}", subject.id, "") for name in bytes_with(path, subject))
        else:
            yield from _lines(path, subject)
    except FileNotFoundError:
        return  # half-written, and finished or given up meanwhile, as by a server that logs
    except (OSError, pa.ArrowException, sqlite3.Error) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"{path}: cannot be looked into ({first}), so nothing is proved of it; mend or "
            "remove it"
        ) from None


def _parquet(path: Path) -> Iterator[_Value]:
    with pq.ParquetFile(path) as file:
        about = file.metadata
        schema = file.schema
        texts = [
            column.path
            for column in (schema.column(i) for i in range(len(schema.names)))
            if column.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
        ]
        yield from _metadata(about.metadata)
        for group in range(about.num_row_groups):
            row_group = about.row_group(group)
            for place in range(row_group.num_columns):
                column = row_group.column(place)
                told = column.statistics
                field = _field(column.path_in_schema)
                if told is not None and told.has_min_max:
                    for value in (told.min, told.max):
                        yield f"statistics of {column.path_in_schema}", _text(value), field
    # As dictionaries, they show what stands in a dictionary's page and in no row.
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for group in range(file.num_row_groups):
            yield from _table(file.read_row_group(group))


def _field(path: str) -> str:
    """The name of a field, for parquet's ``history.list.element.item_id``."""
    return [n for n in path.split(".") if n not in ("list", "element", "key_value")][-1]


def _metadata(metadata: Any) -> Iterator[_Value]:
    for key, value in (metadata or {}).items():
        if key != b"ARROW:schema":
            yield from _json_or_text("metadata", _text(value))


def _table(table: pa.Table) -> Iterator[_Value]:
    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            yield from _array(chunk, name, name)


def _array(array: pa.Array, where: str, field: str) -> Iterator[_Value]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        yield from _array(array.dictionary, where, field)
    elif pa.types.is_struct(kind):
        for place, inner in enumerate(kind):
            yield where, inner.name, ""
            yield from _array(array.field(place), f"{where}.{inner.name}", inner.name)
    elif pa.types.is_map(kind):
        yield from _array(array.keys, where, field)
        yield from _array(array.items, where, field)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _array(array.values, where, field)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        for value in array.unique().to_pylist():
            yield from _json_or_text(where, _text(value), field)
    elif field.endswith("_id") and not pa.types.is_null(kind):
        yield from ((where, value, field) for value in array.unique().to_pylist())


def _json_or_text(where: str, value: Any, field: str = "") -> Iterator[_Value]:
    """A text, and what is in it where it is JSON: escapes hide nothing."""
    yield where, value, field
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            yield from _walk(json.loads(value), where, field)


def _walk(value: Any, where: str, field: str) -> Iterator[_Value]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{where}.{key[:40]}" if field else where, key, ""
            yield from _walk(inner, where, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, where, field)
    else:
        yield f"{where}: {field}" if field else where, value, field


def _lines(path: Path, subject: PurgedSubject) -> Iterator[_Value]:
    """JSON as a whole or by line; of anything else the text."""
    if path.suffix == ".json":
        whole = path.read_bytes()
        try:
            yield from _walk(json.loads(whole), "a value", "")
        except (ValueError, RecursionError):
            yield "the text", _text(whole), ""
        return
    plain = subject.id.encode("utf-8", "surrogatepass")
    before = b""
    with path.open("rb") as file:
        for line in file:
            # An id with a line's end in it stands on two lines where it is not escaped.
            if plain in before[-len(plain) :] + line or b"\\" in line:
                try:
                    yield from _walk(json.loads(line), "a line", "")
                except (ValueError, RecursionError):
                    yield "the text", _text(before + line), ""
            before = line


def _sqlite(path: Path) -> Iterator[_Value]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = bytes
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")
        ]
        for name in map(bytes.decode, names):
            quoted = '"' + name.replace('"', '""') + '"'
            rows = db.execute(f"SELECT * FROM {quoted}")
            fields = [each[0] for each in rows.description]
            for row in rows:
                for field, value in zip(fields, row, strict=True):
                    where = f"{name}.{field}"
                    if isinstance(value, bytes):
                        yield from _json_or_text(where, _text(value), field)
                    else:
                        yield where, value, field


def bytes_with(path: Path, subject: PurgedSubject, *, anywhere: bool = False) -> Iterator[str]:
    """Names of the files of a database of SQLite that hold the id where no table shows it.

    Free pages do, and logs. Of an id of less than six bytes that would be an accident.

    Args:
        anywhere: within longer words too: cells of one row stand side by side without a gap.
    """
    plain = subject.id.encode("utf-8", "surrogatepass")
    if len(plain) < _RAW:
        return
    for place in (path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))):
        blocks = _blocks(place) if place.is_file() else ()
        if any(plain in block if anywhere else subject.stands_in_bytes(block) for block in blocks):
            yield place.name


def _blocks(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        before = b""
        while block := file.read(_BLOCK):
            yield before + block
            before = block[-_LAP:]


def _text(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
