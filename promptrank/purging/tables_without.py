"""Tables without the rows of a person: every other row with the values that it had."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from promptrank.errors import DataError
from promptrank.purging.purged_subject import PurgedSubject

Row = dict[str, Any]


@dataclass(slots=True)
class Without:
    """What a table loses.

    Attributes:
        theirs: rows of their requests.
        items: rows of them as a candidate of somebody else.
        kept: how many rows stay.
    """

    theirs: list[Row] = field(default_factory=list)
    items: list[Row] = field(default_factory=list)
    kept: int = 0

    def __bool__(self) -> bool:
        return bool(self.theirs or self.items)


def tables_in(path: Path) -> Iterator[pa.Table]:
    """The row groups of a parquet file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for number in range(file.num_row_groups):
                yield file.read_row_group(number)
    except (OSError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read ({first}); mend or remove it") from None


def write_without(
    path: Path,
    place: Path,
    subject: PurgedSubject,
    requests: Collection[str],
    *,
    instead: Callable[[Row], Row | None] = lambda row: None,
    watch: Callable[[pa.Table], None] = lambda table: None,
) -> Without:
    """Write a .parquet or .jsonl file to ``place`` without the rows of a person.

    Args:
        requests: ids of requests that are theirs.
        instead: of a .jsonl file, what takes the place of a row of theirs; None for nothing.
        watch: of a .parquet file, is shown what stays.
    """
    lost = Without()
    if path.suffix == ".jsonl":
        with path.open("rb") as lines, place.open("wb") as file:
            for line in lines:
                row = row_of(line)
                if row is None or not _take(lost, subject, row, requests):
                    lost.kept += row is not None
                    file.write(line)
                elif (other := instead(row)) is not None:
                    file.write(json.dumps(other, ensure_ascii=False).encode() + b"\n")
        return lost
    with pq.ParquetFile(path) as given:
        schema = given.schema_arrow
    with pq.ParquetWriter(
        place, schema, compression="zstd", store_schema=True, write_page_checksum=True
    ) as writer:
        for table in tables_in(path):
            theirs = subject.rows_of(table, requests)
            items = pc.and_not(subject.items_in(table), theirs)
            lost.theirs += table.filter(theirs).to_pylist()
            lost.items += table.filter(items).to_pylist()
            kept = fresh(table.filter(pc.invert(pc.or_(theirs, items))))
            lost.kept += len(kept)
            watch(kept)
            writer.write_table(kept)
    return lost


def _take(lost: Without, subject: PurgedSubject, row: Row, requests: Collection[str]) -> bool:
    if subject.is_theirs(row, requests):
        lost.theirs.append(row)
    elif subject.is_item(row):
        lost.items.append(row)
    else:
        return False
    return True


def fresh(table: pa.Table) -> pa.Table:
    """A table whose dictionaries hold what its rows hold and nothing else."""
    for place, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            plain = column.cast(column.type.value_type).combine_chunks()
            again = plain.dictionary_encode().cast(column.type)
            table = table.set_column(place, table.schema.field(place), again)
    return table


def row_of(line: bytes) -> Row | None:
    """A line of JSON as a row; None for what is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
