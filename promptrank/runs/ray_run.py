"""A run whose shards Ray workers rank and write: the same folder, files and summary.

The driver reads the request file and hands blocks on, as many ahead as there are workers, so its
memory does not grow with the number of requests. Shards are the checkpoint: what is written is
never done again, whoever ends, the driver included.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial, reduce
from pathlib import Path
from typing import Any

from promptrank.basics.plurals import counted
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError, InputError
from promptrank.requests.source import RequestFile
from promptrank.runs import shards
from promptrank.runs.cache_use import both_uses
from promptrank.runs.fault_counts import told_faults
from promptrank.runs.manifest import task_digest
from promptrank.runs.ray_pool import ATTEMPTS, WorkerPool
from promptrank.runs.ray_worker import WorkerFacts, WorkerRun
from promptrank.runs.request_blocks import RequestBlock, request_blocks
from promptrank.runs.run_identity import (
    begin,
    identified_by,
    other_facts,
    other_scorer,
    shard_count,
)
from promptrank.runs.shard_walk import shards_and_blocks
from promptrank.runs.sharded_run import SHARD, RunSummary, StoppedBetween, end_run
from promptrank.runs.shards import NOTHING, ShardCounts
from promptrank.runs.throughput import Throughput
from promptrank.schema.task import Task

_NAMED = 5  # shards that are named where some are lost


def score_shards_on_workers(
    folder: Path,
    pool: WorkerPool,
    task: Task,
    file: RequestFile,
    facts: Mapping[str, Any],
    *,
    template: str | None,
    splits: set[str] | None = None,
    ids: set[str] | None = None,
    size: int = SHARD,
    dated: bool = False,
    earlier: Path | None = None,
    total: int | None = None,
    throughput: Throughput | None = None,
    with_text: bool = False,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> RunSummary:
    """As `promptrank.runs.sharded_run.score_shards`, by workers that are started already.

    The folder lies on a file system that all workers see. What the run is of says the first worker
    that is ready; the others, and the driver's own files, are held against it.

    Args:
        task, template: the driver's own, the template by its digest; None for students.

    Raises:
        InputError: the folder holds another run; or a worker has other files.
        DataError: as `score_shards`; or shards whose workers ended again and again, once all the
            others are done.
        StoppedBetween: ``stop`` said so, and what workers had in hand is finished.
    """
    first = pool.first_facts(stop)
    if first is None:
        raise StoppedBetween
    check_files(first, task, template)
    facts = {**facts, "shard": size} | ({"partition": "date"} if dated else {})
    identity = identified_by(task, first.origin, file, facts)
    begin(folder, identity.about, identity.digest)
    shards.clear_shards(folder)
    if earlier is not None and (words := other_scorer(earlier, identity.about)):
        say(f"nothing of {earlier} can be taken over: it has {words}")
        earlier = None

    def check(other: WorkerFacts) -> None:
        if differ := other_facts(first.about, other.about):
            raise InputError(
                f"{_worker(other)} has {', '.join(differ)} than {_worker(first)}; {_SAME_FILES}"
            )

    pool.begin(
        WorkerRun(folder, identity.origin, identity.digest, earlier, dated, with_text), check
    )
    told = throughput if throughput is not None else Throughput()
    since = time.monotonic()
    done: dict[int, ShardCounts] = {}  # by number, since sums of fractions go by their order
    there: list[ShardCounts] = []
    requests = shown = 0
    count = shard_count(folder, identity.digest)

    def blocks() -> Iterator[RequestBlock]:
        nonlocal requests
        read = partial(request_blocks, file, splits, ids, size)
        for part in shards_and_blocks(folder, identity.digest, size, read, count, ahead=True):
            if isinstance(part, RequestBlock):
                yield part
                continue
            there.append(part.counted)
            done[part.number] = part.counted
            requests += part.counted.requests
            told.taken_over += part.counted.requests
            progress(requests, total)

    def in_hand(ranked: int) -> None:
        nonlocal shown
        shown = max(shown, requests + ranked)  # what an ended worker had ranked is ranked again
        progress(shown, total)

    if not shards.numbers(folder):
        progress(0, total)  # speed is counted from here
    try:
        for ranked in pool.ranked(blocks(), stop, in_hand):
            shard = ranked.shard
            told.cache = both_uses(told.cache, ranked.cache)
            done[shard.number] = shard.counted
            requests += shard.counted.requests
            told.add_shard(shard.counted)
            for words in told_faults(shard.counted.faults):
                say(words)
            in_hand(0)
    finally:
        if pool.deaths:
            pool.close()
            shards.clear_shards(folder)
    if pool.stopped:
        raise StoppedBetween
    if pool.lost:
        raise DataError(_lost(folder, sorted(pool.lost)))
    whole = sum_in_order(done)
    told.seconds = time.monotonic() - since
    resumed = sum(counts.requests for counts in there)
    summary = RunSummary(folder, len(done), len(there), whole, resumed, identity, told, earlier)
    end_run(summary, file, write=len(there) < len(done) or count is None)
    return summary


def check_files(worker: WorkerFacts, task: Task, template: str | None) -> None:
    """Hold what a worker has opened against the driver's own files.

    Args:
        template: by its digest; None for students.

    Raises:
        InputError: they differ.
    """
    if worker.about["task_digest"] != task_digest(task) or worker.template not in (template, None):
        which = "template" if worker.about["task_digest"] == task_digest(task) else "task file"
        raise InputError(f"{_worker(worker)} has another {which} than is here; {_SAME_FILES}")


def sum_in_order(done: Mapping[int, ShardCounts]) -> ShardCounts:
    """All shards together, the first one first."""
    return reduce(ShardCounts.plus, (done[number] for number in sorted(done)), NOTHING)


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
