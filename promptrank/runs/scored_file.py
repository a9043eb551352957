"""Scores in one file: a run in a folder beside it, whose shards become the file in the end.

``scores.parquet`` is made from ``scores.parquet.partial/``, a folder as `rank --run` has it, which
a stopped run goes on with, and which is gone when the file stands.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.files import beside
from promptrank.basics.seals import file_digests, read_sealed, write_sealed
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError
from promptrank.ranking.ranker import Ranker
from promptrank.requests.source import RequestFile, Sample
from promptrank.requests.write import TableWriter
from promptrank.runs import shards
from promptrank.runs.nothing_scored import NothingScored
from promptrank.runs.run_identity import RUN, clear_run, identified
from promptrank.runs.scoring import errors_of
from promptrank.runs.sharded_run import RunSummary, score_shards
from promptrank.runs.throughput import Throughput
from promptrank.scores.columns import schema_of
from promptrank.scores.origin import METADATA
from promptrank.scores.read import config_of

FILE_SHARD = 128
"""Requests of a shard: so few that a kill costs little, two windows of the loop in `ranking`."""
_ROWS = 65_536  # that are written together


@dataclass(frozen=True, slots=True)
class Ranked:
    """What `rank` wrote.

    Attributes:
        summary: of the run that it is made of; its folder is ``path``, as its own is gone.
        requests: that were read.
        candidates: scored candidates, one row each in ``path``.
        errors: rows that were set aside.
        partial: rankings that lost a candidate.
        cut_events: history events that did not fit their prompts.
        label_mass: mean probability that the declared answers hold together, per question.
        resumed: requests taken over from an earlier run that was stopped.
        notes: what a student fell back on.
        removed: of the candidates those that policy steps took out.
    """

    path: Path
    errors_path: Path
    summary: RunSummary
    requests: int
    candidates: int
    errors: int
    partial: int
    cut_events: int
    label_mass: dict[str, float]
    resumed: int
    notes: tuple[str, ...] = ()
    removed: int = 0


def score_into(
    path: Path,
    ranker: Ranker,
    requests: RequestFile | Sample,
    facts: Mapping[str, Any],
    say: Say = silent,
    progress: Progress = no_progress,
    *,
    splits: set[str] | None = None,
    ids: set[str] | None = None,
    total: int | None = None,
    throughput: Throughput | None = None,
    with_text: bool = False,
    some: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Ranked:
    """Scores of requests into ``path``, with its errors file and its config beside it.

    A run that was stopped goes on where it was, if everything that can change a score is the same.
    The config states the digests of both files, which `read_scores` holds them against.

    Args:
        facts: of the run, for its identity and the config: which requests, from where.
        splits, ids, total: of a request file, as of `score_shards`.
        throughput: is kept up to date, for whoever shows it.
        with_text: error rows keep what they quote of the data.
        some: whether it is an error that nothing at all gets a score. Error rows are written then
            too, unless there are scores of before, which they would not belong to.
        stop: asked between shards, of `FILE_SHARD` requests.

    Raises:
        DataError: no requests, or a request file that changed meanwhile.
        NothingScored: all of it is set aside.
        StoppedBetween: ``stop`` said so.
    """
    folder = partial_of(path)
    sample = requests if isinstance(requests, Sample) else None
    file = requests.file if isinstance(requests, Sample) else requests
    try:
        summary = score_shards(
            folder,
            ranker,
            file,
            facts,
            splits=splits,
            ids=ids,
            sample=sample,
            size=FILE_SHARD,
            total=total if sample is None else len(sample),
            anew=True,
            throughput=throughput,
            with_text=with_text,
            some=some,
            errors=None if path.exists() else errors_of(path),
            stop=stop,
            say=say,
            progress=progress,
        )
    except NothingScored:
        if not path.exists():
            _join_errors(folder, shards.numbers(folder), path)
            clear_run(folder)
        raise
    finally:
        if (folder / RUN).is_file() and not shards.numbers(folder):
            clear_run(folder)
    identity = summary.identity
    _join(summary, path, schema_of(ranker.task, answers=ranker.method.answers))
    ranked = replace(_ranked(summary, path), notes=ranker.notes())
    files = file_digests(path.parent, [path.name, ranked.errors_path.name])
    told = {each.name: getattr(ranked, each.name) for each in fields(ranked)}
    del told["summary"]  # what it says of the run's identity stands beside
    result = {"result": told, "files": files, "identity": identity.digest}
    write_sealed(config_of(path), {**identity.about, **result})
    clear_run(folder)
    return ranked


def partial_of(path: Path) -> Path:
    """The folder that a scores file is made from."""
    return path.with_name(f"{path.name}.partial")


def is_scored(path: Path, ranker: Ranker, sample: Sample, facts: Mapping[str, Any]) -> bool:
    """Whether the file is there, whole, and what `score_into` would write of the same arguments."""
    files = [path, errors_of(path)]
    if not all(file.is_file() for file in (*files, config_of(path))):
        return False
    try:
        written = read_sealed(config_of(path), then="")
    except DataError:
        return False
    identity = identified(ranker, sample.file, {**facts, "shard": FILE_SHARD}, sample).digest
    now = file_digests(path.parent, [file.name for file in files])
    return written.get("identity") == identity and written.get("files") == now


def _join(summary: RunSummary, path: Path, schema: pa.Schema) -> None:
    """The scores file and the errors file, of a run whose shards are all there."""
    metadata = {METADATA: summary.identity.origin.to_json()}
    with TableWriter(path, schema, metadata=metadata) as scores:
        for table in _together(_tables(summary)):
            scores.write_table(table)
        _join_errors(summary.folder, range(summary.shards), path)


def _join_errors(folder: Path, numbers: Sequence[int], path: Path) -> None:
    """The errors file of ``path``, of the error rows of these shards."""
    with beside(errors_of(path)) as part, part.open("wb") as set_aside:
        for number in numbers:
            with shards.errors_path(folder, number).open("rb") as errors:
                shutil.copyfileobj(errors, set_aside)


def _tables(summary: RunSummary) -> Iterator[pa.Table]:
    for number in range(summary.shards):
        shard = shards.read_shard(summary.folder, number)
        if wrong := shards.damage(summary.folder, shard):
            raise DataError(f"{wrong}; run the same command again, and it is scored again")
        yield pq.read_table(shards.scores_path(summary.folder, number), partitioning=None)


def _together(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Small tables as larger ones."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= _ROWS:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _ranked(summary: RunSummary, path: Path) -> Ranked:
    whole = summary.counted
    rows = whole.scored + whole.removed
    return Ranked(
        path,
        errors_of(path),
        replace(summary, folder=path),
        requests=whole.requests,
        candidates=rows,
        errors=whole.errors,
        partial=whole.partial,
        cut_events=whole.cut_events,
        label_mass={name: total / rows for name, total in whole.label_mass.items() if rows},
        resumed=summary.resumed_requests,
        removed=whole.removed,
    )
