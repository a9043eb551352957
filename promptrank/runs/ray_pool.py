"""Ray workers that rank blocks: each goes to one of them, and to another where that one ends.

A worker has one block at a time, so that its end is never laid to a block that only waited for it,
and Ray is told to restart and retry nothing: who died with what is counted here. Ray Data and
``max_task_retries=-1`` would try a block that ends its worker for ever.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from promptrank.basics.telling import Say
from promptrank.errors import InputError
from promptrank.runs.ray_session import WantedWorkers
from promptrank.runs.ray_waiting import WaitForWorkers
from promptrank.runs.ray_worker import (
    TELLING,
    Opening,
    RankedShard,
    RankingWorker,
    WorkerFacts,
    WorkerRun,
)
from promptrank.runs.request_blocks import RequestBlock

ATTEMPTS = 8
"""A block that so many workers ended over is given to no other.

Three are enough to know a request that ends its process, and the fourth sets it aside
(`promptrank.runs.attempts`); eight know three such requests.
"""
_STARTS = 3  # workers that end while they start, one after another, before it is given up
_LOOK = 1.0  # seconds between two looks at how far blocks in hand are
_CLOSING = 20.0  # seconds that workers have for closing


class WorkerPool:
    """Workers of one job, or of several runs one after another.

    Attributes:
        lost: numbers of the blocks of the run that ended `ATTEMPTS` workers.
        deaths: workers that ended before their time, since the run was opened.
        stopped: whether blocks were left because somebody asked for the end.
    """

    def __init__(self, ray: Any, wanted: WantedWorkers, say: Say) -> None:
        """Nothing is started yet.

        Args:
            ray: the module, connected.
            wanted: with numbers, as `workers_that_fit` gives them.
        """
        self.lost: list[int] = []
        self.deaths, self.stopped = 0, False
        self._ray, self._wanted, self._say = ray, wanted, say
        self._count = wanted.workers or 1
        self._opening: dict[Any, Any] = {}  # answer that is awaited -> worker
        self._placed: dict[Any, Any] = {}  # the same -> an answer that comes once it has room
        self._beginning: dict[Any, Any] = {}
        self._busy: dict[Any, tuple[Any, RequestBlock]] = {}
        self._idle: list[Any] = []
        self._failed_starts = 0
        self._wait = WaitForWorkers(ray, wanted, say)

    def open(self, opening: Opening) -> None:
        """Let workers open what the next run is ranked by; nothing is waited for.

        Those that are there go on with what they have in memory, once they have finished what they
        have in hand; those that are missing are started.
        """
        self._opening_of = opening
        self.lost = []
        self.deaths, self.stopped, self._failed_starts = 0, False, 0
        self._wait.over()
        there = self._workers()
        self._clear()
        for worker in there:
            self._open(worker)
        for _ in range(self._count - len(there)):
            self._start_one()

    def first_facts(self, stop: Callable[[], bool]) -> WorkerFacts | None:
        """What the first worker that is ready has opened; None where ``stop`` came first.

        Raises:
            InputError: whatever keeps it from opening; or the cluster has no room for it.
        """
        while not stop():
            ready, _ = self._ray.wait([*self._opening], num_returns=1, timeout=_LOOK)
            for ref in ready:
                facts = self._answer(ref)
                if facts is None:
                    self._start_anew(self._opening.pop(ref))
                    continue
                self._wait.over()
                return facts  # type: ignore[no-any-return]
            self._wait_on()
        return None

    def begin(self, run: WorkerRun, check: Callable[[WorkerFacts], None]) -> None:
        """Say which run blocks are of.

        Args:
            check: raises where what a worker has opened is not what the run is of.
        """
        self._run, self._check = run, check

    def ranked(
        self,
        blocks: Iterator[RequestBlock],
        stop: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> Iterator[RankedShard]:
        """The shards of blocks, as they are finished.

        Args:
            blocks: are drawn as workers become free, and as many again ahead of that.
            stop: once it says so, blocks in hand are finished and no other is begun.
            progress: is told of requests that are ranked in blocks in hand.

        Raises:
            InputError: what a worker raised, once the others have finished what they had; or the
                cluster has no room for any worker.
        """
        ahead: deque[RequestBlock] = deque()
        attempts: Counter[int] = Counter()
        more, failed = True, None
        while True:
            ending = failed is not None or stop()
            while self._idle and not ending and (ahead or more):
                if not ahead:
                    more = _draw(blocks, ahead)
                    continue
                worker, block = self._idle.pop(), ahead.popleft()
                self._busy[worker.rank.remote(block)] = (worker, block)
            if not self._busy and (ending or not (ahead or more)):
                # Whoever asked for the end after the last block has nothing to go on with.
                self.stopped = failed is None and bool(ahead or (more and _draw(blocks, ahead)))
                break
            while more and not ending and len(ahead) < (self._count):
                if self._ray.wait(self._awaited(), num_returns=1, timeout=0)[0]:
                    break
                more = _draw(blocks, ahead)
            ready, _ = self._ray.wait(self._awaited(), num_returns=1, timeout=_LOOK)
            if not ready:
                self._wait_on()
                progress(self._in_hand())
            for ref in ready:
                try:
                    if ref not in self._busy:
                        self._step_of_start(ref)
                        continue
                    worker, block = self._busy.pop(ref)
                    shard = self._answer(ref)
                except Exception as error:  # what its ranking raised, or its start
                    failed = failed or error
                    continue
                if shard is not None:
                    self._idle.append(worker)
                    yield shard
                    continue
                attempts[block.number] += 1
                if attempts[block.number] < ATTEMPTS:
                    ahead.appendleft(block)
                    self._say(
                        f"a worker ended while it ranked shard {block.number:06}; tried again"
                    )
                else:
                    self.lost.append(block.number)
                try:
                    self._start_anew(worker)
                except Exception as error:  # the others finish what they have
                    failed = failed or error
        if failed is not None:
            raise failed

    def close(self) -> None:
        """End the workers, those that have nothing in hand in good order."""
        closing = [worker.close.remote() for worker in self._idle]
        if closing:
            self._ray.wait(closing, num_returns=len(closing), timeout=_CLOSING)
        for worker in self._workers():
            self._kill(worker)
        self._clear()

    def _workers(self) -> list[Any]:
        busy = (worker for worker, _ in self._busy.values())
        return [*self._idle, *self._opening.values(), *self._beginning.values(), *busy]

    def _clear(self) -> None:
        for workers in (self._idle, self._opening, self._placed, self._beginning, self._busy):
            workers.clear()

    def _start_one(self) -> None:
        options = {
            "num_cpus": self._wanted.cpus,
            "num_gpus": self._wanted.gpus or 0,
            "max_restarts": 0,
            "max_task_retries": 0,
            "concurrency_groups": {TELLING: 1},
        }
        actor = self._ray.remote(**options)(RankingWorker)
        self._open(actor.remote(str(Path.cwd())))

    def _open(self, worker: Any) -> None:
        opened = worker.open.remote(self._opening_of)
        self._opening[opened] = worker
        self._placed[opened] = worker.ranked.remote()

    def _start_anew(self, worker: Any) -> None:
        """A worker in the place of one that has ended."""
        self._kill(worker)  # where it is only out of reach, it must not write on
        self.deaths += 1
        self._failed_starts += 1
        if self._failed_starts > _STARTS * self._count:
            raise InputError(
                "workers end while they start, one after another; is there memory for as many "
                "engines on one machine? See --workers, and the logs of Ray"
            )
        self._start_one()

    def _step_of_start(self, ref: Any) -> None:
        opening = ref in self._opening
        worker = (self._opening if opening else self._beginning).pop(ref)
        answer = self._answer(ref, none=False)
        if answer is False:
            self._start_anew(worker)
        elif opening:
            self._check(answer)
            self._beginning[worker.begin.remote(self._run)] = worker
        else:
            self._idle.append(worker)
            self._failed_starts = 0
            self._wait.over()

    def _answer(self, ref: Any, none: Any = None) -> Any:
        """What a worker answered; ``none`` where it has ended.

        Raises:
            Exception: what it raised.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except errors.RayTaskError as error:
            if isinstance(error.cause, InputError | OSError | MemoryError):
                raise error.cause from None
            raise
        except errors.RayError:
            return none

    def _awaited(self) -> list[Any]:
        return [*self._opening, *self._beginning, *self._busy]

    def _in_hand(self) -> int:
        """Requests that are ranked in blocks in hand, by those workers that answer at once."""
        asked = [worker.ranked.remote() for worker, _ in self._busy.values()]
        if not asked:
            return 0
        ready, _ = self._ray.wait(asked, num_returns=len(asked), timeout=_LOOK)
        return sum(self._answer(ref, none=0) for ref in ready)

    def _kill(self, worker: Any) -> None:
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(worker)

    def _wait_on(self) -> None:
        """Say what is waited for where no worker can rank, and end where none has room for long."""
        if self._busy or self._idle:
            return
        self._placed = {ref: self._placed[ref] for ref in self._opening}
        asked = [*self._placed.values()]
        placed = bool(self._beginning)
        if asked and not placed:
            placed = bool(self._ray.wait(asked, num_returns=1, timeout=0)[0])
        self._wait.goes_on(placed)


def _draw(blocks: Iterator[RequestBlock], ahead: deque[RequestBlock]) -> bool:
    """Whether there was another block."""
    block = next(blocks, None)
    if block is not None:
        ahead.append(block)
    return block is not None
