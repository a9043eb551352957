"""What runs in each Ray worker: an engine that ranks blocks and writes their shards."""

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from promptrank.basics.seals import read_sealed
from promptrank.errors import DataError, InputError
from promptrank.ranking.ranker import Ranker
from promptrank.runs.cache_use import CacheUse, cache_use
from promptrank.runs.feeding import finished
from promptrank.runs.manifest import manifest
from promptrank.runs.request_blocks import RequestBlock
from promptrank.runs.run_identity import RUN
from promptrank.runs.shard_ranking import ShardRanking
from promptrank.runs.shards import Shard
from promptrank.runs.since import scored_since
from promptrank.runs.throughput import Throughput
from promptrank.runtime.runtime import Runtime
from promptrank.scores.origin import Origin

TELLING = "telling"
"""The concurrency group of what a worker answers while it ranks."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a worker opens what it ranks by, from the files that are on its machine.

    Attributes:
        runtime: called once in each worker; what it opens, later rankers share.
        ranker: called for each run.
    """

    runtime: Callable[[], AbstractContextManager[Runtime]]
    ranker: Callable[[Runtime], Ranker]


@dataclass(frozen=True, slots=True)
class RankedShard:
    """A shard that is written.

    Attributes:
        cache: how much of it the score cache had; None without one.
    """

    shard: Shard
    cache: CacheUse | None


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What a worker has opened.

    Attributes:
        about: the facts of `promptrank.runs.run_identity` that do not depend on the requests.
        template: digest of the task's template; None for rankers without one.
    """

    host: str
    pid: int
    origin: Origin
    about: Mapping[str, Any]
    template: str | None


@dataclass(frozen=True, slots=True)
class WorkerRun:
    """The run that workers write into.

    Attributes:
        earlier: a run to take scores over from.
        dated: whether the scores of each date are files of their own.
        with_text: error rows keep what they quote of the data.
    """

    folder: Path
    origin: Origin
    identity: str
    earlier: Path | None
    dated: bool
    with_text: bool


class RankingWorker:
    """One Ray actor. Its methods are called by `promptrank.runs.ray_pool` alone, in this order.

    Several runs may follow one another in it: then `open` begins the next.
    """

    def __init__(self, working_folder: str) -> None:
        """Go to the driver's working folder, so that relative paths mean the same here.

        Where this machine has no such folder, absolute paths still do.
        """
        if Path(working_folder).is_dir():
            os.chdir(working_folder)
        self._runtime: Runtime | None = None
        self._whole, self._run = ExitStack(), ExitStack()
        self._ranked = 0

    def open(self, opening: Opening) -> WorkerFacts:
        """Open the ranker in the place of the one before, and say what it is."""
        self._run.close()
        if self._runtime is None:
            self._runtime = self._whole.enter_context(opening.runtime())
        self._ranker = ranker = self._run.enter_context(opening.ranker(self._runtime))
        about = {**manifest("rank", ranker.task, ranker.origin.task or ""), **asdict(ranker.origin)}
        about.pop("argv")
        template = ranker.encoder.template.digest if ranker.encoder is not None else None
        return WorkerFacts(platform.node(), os.getpid(), ranker.origin, about, template)

    def begin(self, run: WorkerRun) -> None:
        """Make ready for a run.

        Raises:
            InputError: its folder is not the one that the driver writes.
            DataError: a damaged earlier run.
        """
        try:
            there = read_sealed(run.folder / RUN, then="").get("identity")
        except DataError:
            there = None
        if there != run.identity:
            raise InputError(
                f"a worker on {platform.node()} does not see the run in {run.folder}; the folder "
                "has to lie on a file system that all machines of the cluster share"
            )
        known = None
        if run.earlier is not None:
            whole = bool(self._ranker.steps or self._ranker.policy)
            known = self._run.enter_context(scored_since(run.earlier, whole))
        self._ranking = ShardRanking(
            run.folder,
            self._ranker,
            run.origin,
            run.identity,
            known,
            Throughput(),  # the driver counts by what shards say
            dated=run.dated,
            with_text=run.with_text,
        )

    def rank(self, block: RequestBlock) -> RankedShard:
        """Rank a block and write its shard."""
        self._ranked = 0
        opened = self._ranker.opened
        before = cache_use(opened)
        shard = finished(self._ranking.steps(block, self._tell))
        return RankedShard(shard, cache_use(opened, before))

    def ranked(self) -> int:
        """How many requests of the block in hand are ranked; answered beside `rank`."""
        return self._ranked

    # What `ray.method` sets, without Ray here; its client cannot say the group at a call.
    ranked.__ray_concurrency_group__ = TELLING  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the ranker, and what belongs to it."""
        self._run.close()
        self._whole.close()

    def _tell(self, done: int) -> None:
        self._ranked = done
