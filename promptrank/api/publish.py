"""``publish``: the scores of a run into a table of a database."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.addresses import address, secret_in
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.errors import DataError, InputError
from promptrank.places.database_writing import replace_rows
from promptrank.places.local_copies import local_copy
from promptrank.runs.run_identity import PLAN
from promptrank.runs.scores_sides import scores_side

PUBLISHED = pa.schema(
    [
        ("run", pa.string()),
        ("task", pa.string()),
        ("request_id", pa.string()),
        ("candidate_id", pa.string()),
        ("subject_id", pa.string()),
        ("item_id", pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float64()),
        ("probability", pa.float64()),
    ]
)
"""Columns of the table; its key is (run, request_id, candidate_id)."""
_KEY = ("run", "request_id", "candidate_id")
_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Published:
    """What was written.

    Attributes:
        run: the name that its rows bear.
        rows: how many; candidates without a score have none.
    """

    table: str
    run: str
    rows: int


def publish(
    scores: str | Path, table: str | Path, *, name: str | None = None, say: Say = silent
) -> Published:
    """Put the scores of a finished run, or of a scores file, into a table, in one transaction.

    Rows of the same run that are there already are replaced, so a second time changes nothing.

    Args:
        scores: the folder of a run or a parquet file, local or in an object store.
        table: ``postgresql://user@host/db#schema.table`` or ``sqlite:file.db#table``; it is made
            where it is not there.
        name: of the run, in the column ``run``. Where left out, the name of its folder or file, and
            before that of a local run of a plan the plan's folder: ``2026-11-28/like``.

    Raises:
        DataError: scores that are not finished or damaged, or what the database says is wrong.
        InputError: a table that is none.
    """
    if wrong := secret_in(table):
        raise InputError(wrong)
    whole = address(table)
    if whole is None:
        raise InputError(
            f"{table}: is no table of a database; write postgresql://user@host/db#schema.table or "
            "sqlite:file.db#table"
        )
    # Of the address, since the copy of it may be called otherwise.
    whose = Path(address(scores) or expanded(scores).resolve())
    run = name if name is not None else _default_name(whose)
    with local_copy(scores, (".config.json",)) as place:
        side = scores_side(place)
        if side.paths[0].suffix != ".parquet":
            raise DataError(f"{place}: give the folder of a run, or a .parquet file of scores")
        task = side.origin.task
        batches = pa.RecordBatchReader.from_batches(PUBLISHED, _batches(side.paths, run, task))
        say(f"writing {run}")
        rows = replace_rows(whole, Path.cwd(), batches, _KEY, run)
    return Published(whole, run, rows)


def _default_name(whose: Path) -> str:
    """Runs of a plan bear the same names every night, and may not take each other's rows."""
    name = whose.name.removesuffix(".parquet")
    return f"{whose.parent.name}/{name}" if (whose.parent / PLAN).is_file() else name


def _batches(paths: tuple[Path, ...], run: str, task: str | None) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = [n for n in PUBLISHED.names[2:] if n in file.schema_arrow.names]
            for batch in file.iter_batches(_ROWS, columns=names):
                rows = pa.Table.from_batches([batch])
                rows = rows.filter(rows.column("score").is_valid())
                count = len(rows)
                given = {"run": pa.array([run] * count), "task": pa.array([task] * count)}
                given |= {n: rows.column(n).combine_chunks() for n in names}
                arrays = [
                    given[f.name].cast(f.type) if f.name in given else pa.nulls(count, f.type)
                    for f in PUBLISHED
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=PUBLISHED)
