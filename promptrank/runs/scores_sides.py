"""The scores of a run or of a file as DuckDB reads them: never whole in memory."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.byte_order import opened_past_mark
from promptrank.basics.json_files import json_object
from promptrank.basics.sql import ident, literal
from promptrank.errors import DataError
from promptrank.runs.read_run import purged_of, run_scores
from promptrank.scores.columns import KEY, LEAST
from promptrank.scores.origin import Origin
from promptrank.scores.read import check_digest, stated_origin

_MASS = "_label_mass"


@dataclass(frozen=True, slots=True)
class ScoresSide:
    """One of two sets of scores that are compared.

    Attributes:
        place: the folder of a run, or the scores file.
        paths: of the files that hold its scores.
        columns: that these have.
        origin: where they come from.
        purged: candidates that a purge took out of the run since; of a file nobody knows.
    """

    place: Path
    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    origin: Origin
    purged: int = 0

    @property
    def known(self) -> bool:
        """Whether it says how it was made."""
        return self.origin.ranker != f"scores:{self.paths[0]}"

    @property
    def questions(self) -> tuple[str, ...]:
        """Names of the questions whose label mass is known."""
        return tuple(c.removesuffix(_MASS) for c in self.columns if c.endswith(_MASS))

    @property
    def select(self) -> str:
        """SQL: a row per scored candidate, with its place and the label mass of each question.

        ``place`` is the rank as written; where none is, by score and then by id.
        """
        names = [f"CAST({name} AS VARCHAR) AS {name}" for name in KEY]
        part = "CAST(split AS VARCHAR)" if "split" in self.columns else "CAST(NULL AS VARCHAR)"
        place = (
            "CAST(rank AS BIGINT)"
            if "rank" in self.columns
            else "row_number() OVER (PARTITION BY request_id "
            "ORDER BY CAST(score AS DOUBLE) DESC, candidate_id)"
        )
        masses = [f"CAST({c} AS DOUBLE) AS {c}" for c in map(mass_column, self.questions)]
        columns = [*names, f"{part} AS part", "CAST(score AS DOUBLE) AS score"]
        columns += [f"{place} AS place", *masses]
        return f"SELECT {', '.join(columns)} FROM {self._source} WHERE score IS NOT NULL"

    @property
    def _source(self) -> str:
        files = f"[{', '.join(literal(str(path)) for path in self.paths)}]"
        if self.paths[0].suffix == ".parquet":
            return f"read_parquet({files}, hive_partitioning = false)"
        kinds = {name: "VARCHAR" for name in (*KEY, "split")} | {"score": "DOUBLE"}
        kinds |= {"rank": "BIGINT"} | {f"{name}{_MASS}": "DOUBLE" for name in self.questions}
        shown = ", ".join(f"{literal(n)}: '{k}'" for n, k in kinds.items() if n in self.columns)
        return f"read_json({files}, format = 'newline_delimited', columns = {{{shown}}})"


def mass_column(question: str) -> str:
    """The quoted column of a question's label mass."""
    return ident(f"{question}{_MASS}")


def scores_side(place: Path) -> ScoresSide:
    """A finished run's folder, or a scores file (.parquet or .jsonl), looked at and not read.

    Raises:
        DataError: neither, or one that is damaged or lacks a column.
    """
    purged = 0
    if place.is_dir():
        paths, purged = tuple(run_scores(place)), purged_of(place)
    elif place.is_file():
        check_digest(place)
        paths = (place,)
    else:
        raise DataError(
            f"{place}: there is no such run or scores file; `promptrank rank` makes one"
        )
    try:
        if paths[0].suffix == ".parquet":
            schema = pq.read_schema(paths[0])
            columns, metadata = tuple(schema.names), schema.metadata or {}
        else:
            with opened_past_mark(place) as lines:
                first = json_object(next(lines, b"{}"), f"{place}:1", constants=True)
            columns, metadata = tuple(first), {}
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{place}: not a scores file: {str(error).splitlines()[0]}") from None
    missing = [name for name in LEAST.names if name not in columns]
    if missing:
        raise DataError(f"{place}: not a scores file: it has no column {missing[0]}")
    return ScoresSide(place, paths, columns, stated_origin(paths[0], metadata), purged)
