"""The scores of a run, as one."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from promptrank.basics.seals import read_sealed
from promptrank.errors import DataError
from promptrank.runs import shards
from promptrank.runs.run_identity import PLAN, RUN, SUMMARY
from promptrank.schema.task import Task
from promptrank.scores.read import read_scores
from promptrank.scores.scores import Scores

_AGAIN = "the command that made it goes on with it"


def read_run(folder: Path, task: Task, name: str) -> Scores:
    """All scores of a finished run, in memory.

    Raises:
        DataError: as `run_scores`, or scores of another task.
    """
    scores = [read_scores(path, task, name) for path in run_scores(folder)]
    table = pa.concat_tables([each.table for each in scores]).combine_chunks()
    return Scores(table, scores[-1].origin)


def run_scores(folder: Path) -> Iterator[Path]:
    """The scores files of each shard of a finished run, in order, each checked before it is given.

    Raises:
        DataError: no run, one that is not finished, or a shard that is damaged or of another run.
    """
    if (folder / PLAN).is_file() and not (folder / RUN).is_file():
        raise DataError(f"{folder}: holds several runs; name the folder of one of them in it")
    if not (folder / RUN).is_file():
        raise DataError(f"{folder}: is no folder of a run; `promptrank rank --run` makes one")
    if not (folder / SUMMARY).is_file():
        raise DataError(f"{folder}: the run is not finished; {_AGAIN}")
    run = read_sealed(folder / RUN, then=_AGAIN)
    count = read_sealed(folder / SUMMARY, then=_AGAIN).get("shards")
    if type(count) is not int:
        raise DataError(f"{folder / SUMMARY}: does not say how many shards there are; {_AGAIN}")
    if not count:
        raise DataError(f"{folder}: a run without shards; {_AGAIN}")
    for number in range(count):
        shard = shards.read_shard(folder, number)
        if wrong := shards.damage(folder, shard):
            raise DataError(f"{wrong}; {_AGAIN}")
        if shard.identity != run.get("identity"):
            raise DataError(f"{folder}: shard {number} is of another run; {_AGAIN}")
        yield from shards.scores_paths(folder, shard)


def purged_of(folder: Path) -> int:
    """Candidates that a purge took out of a finished run."""
    purged = read_sealed(folder / SUMMARY, then=_AGAIN).get("purged")
    return purged if type(purged) is int else 0
