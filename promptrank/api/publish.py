"""``publish``: the scores of a run into a table of a database."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.addresses import address, is_object
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.errors import DataError
from promptrank.places.database_writing import Layout, OwnedRows, replace_rows
from promptrank.places.local_copies import local_copy
from promptrank.places.object_store import is_there
from promptrank.places.open_tables import table_address
from promptrank.runs.run_identity import PLAN
from promptrank.runs.scores_sides import ScoresSide, scores_side
from promptrank.runs.several_runs import names_of_runs

PUBLISHED = Layout(
    pa.schema(
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
    ),
    key=("run", "task", "request_id", "candidate_id"),
    owner=("run", "task"),
)
"""The table; ``task`` is empty where a scores file does not say of which it is."""
_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """What was written of one run.

    Attributes:
        run: the name that its rows bear.
        task: of the run; empty where nobody knows.
        rows: how many; candidates without a score have none.
        replaced: how many rows of the same run and task were there before.
    """

    run: str
    task: str
    rows: int
    replaced: int


@dataclass(frozen=True, slots=True)
class Published:
    """What was written: a run, or all runs of a plan."""

    table: str
    runs: tuple[PublishedRun, ...]


def publish(
    scores: str | Path, table: str | Path, *, name: str | None = None, say: Say = silent
) -> Published:
    """Put the scores of a run, of a plan's runs or of a scores file into a table.

    It is one transaction, for all runs of a plan together. Rows of the same run and task that are
    there already are replaced, so a second time changes nothing.

    Args:
        scores: the folder of a run or of a plan's runs, or a parquet file, local or in an object
            store.
        table: ``postgresql://user@host/db#schema.table`` or ``sqlite:file.db#table``; it is made
            where it is not there.
        name: of the run, in the column ``run``. Where left out, the name of its folder or file, and
            before that of a run of a plan the plan's folder: ``2026-11-28/like``. Of a plan's
            folder: what stands in place of its name.

    Raises:
        DataError: scores that are not finished or damaged, or what the database says is wrong.
        InputError: a table that is none.
    """
    whole = table_address(table)
    # Of the address, since the copy of it may be called otherwise.
    whose = address(scores) or str(expanded(scores).resolve())
    run = name if name is not None else _default_name(whose)
    with local_copy(scores, (".config.json",)) as place:
        sides = _sides(place, run)
        given = [
            OwnedRows((name, task := side.origin.task or ""), _batches(side.paths, name, task))
            for name, side in sides.items()
        ]
        say(f"writing {run}")
        written = replace_rows(whole, Path.cwd(), PUBLISHED, given)
    done = zip(sides.items(), written, strict=True)
    return Published(
        whole,
        tuple(PublishedRun(r, side.origin.task or "", w.rows, w.replaced) for (r, side), w in done),
    )


def _sides(place: Path, run: str) -> dict[str, ScoresSide]:
    """By the name that their rows bear: all runs of a plan, or the one that it is.

    Raises:
        DataError: one of them is not finished or damaged; then none is published.
    """
    names = names_of_runs(place) if place.is_dir() else ()
    sides = {f"{run}/{name}": scores_side(place / name) for name in names}
    sides = sides or {run: scores_side(place)}
    for side in sides.values():
        if side.paths[0].suffix != ".parquet":
            raise DataError(f"{place}: give the folder of a run, or a .parquet file of scores")
    return sides


def _default_name(whose: str) -> str:
    """Runs of a plan bear the same names every night, and may not take each other's rows."""
    above, _, name = whose.rpartition("/")
    name = name.removesuffix(".parquet")
    plan = f"{above}/{PLAN}"
    planned = is_there(plan) if is_object(whose) else Path(plan).is_file()
    return f"{above.rpartition('/')[2]}/{name}" if planned else name


def _batches(paths: tuple[Path, ...], run: str, task: str) -> Iterator[pa.RecordBatch]:
    schema = PUBLISHED.schema
    for path in paths:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = [n for n in schema.names[2:] if n in file.schema_arrow.names]
            for batch in file.iter_batches(_ROWS, columns=names):
                rows = pa.Table.from_batches([batch])
                rows = rows.filter(rows.column("score").is_valid())
                count = len(rows)
                given = {"run": pa.array([run] * count), "task": pa.array([task] * count)}
                given |= {n: rows.column(n).combine_chunks() for n in names}
                arrays = [
                    given[f.name].cast(f.type) if f.name in given else pa.nulls(count, f.type)
                    for f in schema
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
