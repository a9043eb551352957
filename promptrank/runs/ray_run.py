"""A run whose shards Ray workers rank and write: the same folder, files and summary.

The driver reads the request file and hands blocks on, as many ahead as there are workers, so its
memory does not grow with the number of requests. Shards are the checkpoint: what is written is
never done again, whoever ends, the driver included.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptrank.basics.plurals import counted
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import InputError
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import RequestFile
from promptrank.runs import shards
from promptrank.runs.ray_pool import ATTEMPTS, WorkerPool
from promptrank.runs.ray_worker import WorkerFacts, WorkerRun
from promptrank.runs.request_blocks import RequestBlock, request_blocks
from promptrank.runs.run_identity import begin, other_facts, other_scorer
from promptrank.runs.sharded_run import SHARD, RunSummary, StoppedBetween, about_run, end_run
from promptrank.runs.shards import NOTHING, ShardCounts

_NAMED = 5  # shards that are named where some are lost


def score_shards_on_workers(
    folder: Path,
    pool: WorkerPool,
    file: RequestFile,
    facts: dict[str, Any],
    *,
    task_digest: str,
    template: str | None,
    splits: set[str] | None = None,
    ids: set[str] | None = None,
    size: int = SHARD,
    earlier: Path | None = None,
    total: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> RunSummary:
    """As `promptrank.runs.sharded_run.score_shards`, by workers that are started already.

    The folder lies on a file system that all workers see. What the run is of says the first worker
    that is ready; the others, and the driver's own files, are held against it.

    Args:
        task_digest, template: of the driver's own files; no template for students.

    Raises:
        InputError: the folder holds another run; a worker has other files; or shards whose workers
            ended again and again, once all the others are done.
        DataError: as `score_shards`.
        StoppedBetween: ``stop`` said so, and what workers had in hand is finished.
    """
    digest = requests_digest(file.path)
    first = pool.first_facts(stop)
    if first is None:
        raise StoppedBetween
    if first.about["task_digest"] != task_digest or first.template not in (template, None):
        which = "task file" if first.about["task_digest"] != task_digest else "template"
        raise InputError(f"{_worker(first)} has another {which} than is here; {_SAME_FILES}")
    origin = replace(first.origin, requests=digest)
    about, identity = about_run(
        {**first.about, "requests": digest, "argv": sys.argv[1:]}, facts, size
    )
    begin(folder, about, identity)
    shards.clear_shards(folder)
    if earlier is not None and (words := other_scorer(earlier, about)):
        say(f"nothing of {earlier} can be taken over: it has {words}")
        earlier = None

    def check(other: WorkerFacts) -> None:
        if differ := other_facts(first.about, other.about):
            raise InputError(
                f"{_worker(other)} has {', '.join(differ)} than {_worker(first)}; {_SAME_FILES}"
            )

    pool.begin(WorkerRun(folder, origin, identity, earlier), check)
    done: dict[int, ShardCounts] = {}  # by number, since sums of fractions go by their order
    requests = resumed = count = 0

    def blocks() -> Iterator[RequestBlock]:
        nonlocal requests, resumed, count
        for block in request_blocks(file, splits, ids, size):
            count += 1
            shard = shards.done(folder, block.number, identity, block.content)
            if shard is None:
                yield block
                continue
            done[block.number] = shard.counted
            resumed += 1
            requests += shard.counted.requests
            progress(requests, total)

    told = 0

    def in_hand(ranked: int) -> None:
        nonlocal told
        told = max(told, requests + ranked)  # what an ended worker had ranked is ranked again
        progress(told, total)

    try:
        for shard in pool.ranked(blocks(), stop, in_hand):
            done[shard.number] = shard.counted
            requests += shard.counted.requests
            in_hand(0)
    finally:
        if pool.deaths:
            pool.close()
            shards.clear_shards(folder)
    if pool.lost:
        raise InputError(_lost(folder, sorted(pool.lost)))
    if pool.stopped:
        raise StoppedBetween
    whole = NOTHING
    for number in range(count):
        whole = whole.plus(done[number])
    return end_run(folder, file, digest, identity, RunSummary(folder, count, resumed, whole))


_SAME_FILES = (
    "every machine of the cluster needs the same promptrank, project, model and adapter, best of "
    "all in a folder that they share"
)


def _worker(facts: WorkerFacts) -> str:
    return f"a worker on {facts.host} (process {facts.pid})"


def _lost(folder: Path, numbers: list[int]) -> str:
    names = ", ".join(f"{number:06}" for number in numbers[:_NAMED])
    more = " and more" if len(numbers) > _NAMED else ""
    return (
        f"{folder}: {counted(len(numbers), 'shard')} ended the worker that ranked it {ATTEMPTS} "
        f"times ({names}{more}): out of memory, or a request that ends the process; all others "
        "are done, and the same command tries these again"
    )
