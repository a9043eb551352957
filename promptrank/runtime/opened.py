"""An opened engine that many callers share: single works from any thread, and long runs.

There is no thread of its own. Whoever waits for an answer takes the turn and does one step of the
engine, for whichever group is next, until its own answer is there. torch's OpenMP team belongs to
the thread that calls it, so work handed to another thread would cost a second team and, for every
answer, two switches between threads. A server, whom many threads ask, has one thread do all steps
(`promptrank.runtime.stepping`), and so one team.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Generic, TypeVar

from promptrank.engine.contract import Answers, EngineInfo, TreeScore
from promptrank.engine.windows import windows
from promptrank.errors import ModelError
from promptrank.runtime.batch_sizes import BatchSizes
from promptrank.runtime.faults import Faults, steps_of
from promptrank.runtime.under_way import Answer, WorkGroup
from promptrank.runtime.watchdog import Watchdog

V = TypeVar("V")
T = TypeVar("T")


class Opened(Generic[V]):
    """An engine, or anything else that keeps `Answers`, shared by callers.

    Groups under way take steps in turn, so a single work is answered after about twice its own
    steps, however long the run is that it came into. All methods may be called from any thread.

    Attributes:
        engine: what answers; call it through `alone` only.
        batches: sizes of the groups that it has begun.
        faults: what has gone wrong with it (see `promptrank.runtime.faults`).
        watched: is entered for each step, such as a `promptrank.runtime.watchdog.Watchdog`.
    """

    def __init__(self, engine: Answers[V]) -> None:
        self.engine = engine
        self.batches = BatchSizes()
        self.faults = Faults()
        self.watched: AbstractContextManager[object] = nullcontext()
        self._turn = threading.Condition()
        self._taken = False  # somebody is at a step
        self._alone = 0  # so many wait for the turn who go before any further step
        self._closed = False
        self._groups: deque[WorkGroup[V]] = deque()  # the next one first
        self._wake: Callable[[], None] | None = None  # tells who does the steps, if anyone does
        self._one_caller = False

    @property
    def info(self) -> EngineInfo:
        """Facts about what answers."""
        return self.engine.info

    @property
    def ahead(self) -> int:
        """Groups that a long run keeps under way.

        One more than the engine works on where a run has it to itself and somebody else does the
        steps: the engine goes on with it while the run takes what is answered.
        """
        fed = self._one_caller and self._wake is not None
        return self.engine.groups + (1 if fed else 0)

    @contextmanager
    def one_caller(self) -> Iterator[None]:
        """Inside, a single run asks: no groups are begun together, nor need they share the steps.

        An engine that works on one group at a time then ends each before the next, so that what the
        run waits for first is there first.
        """
        self._one_caller = True
        try:
            yield
        finally:
            self._one_caller = False

    def submit(self, works: Sequence[V]) -> Sequence[Answer]:
        """Queue works as one group; returns at once.

        They are worked on while somebody waits in `result` or `stream`, whoever that is.

        Returns:
            A future for each; give it to `result` (its own ``result`` would wait and do nothing).

        Raises:
            ModelError: closed.
        """
        return self._queue(works, joins=not self._one_caller).own

    def result(self, answer: Answer, timeout: float | None = None) -> TreeScore:
        """What a future of `submit` comes to; works on until it is there.

        Args:
            timeout: seconds; a step that was begun is ended first. The future is then cancelled,
                and its group given up once nobody waits for any of it.

        Raises:
            TimeoutError: not there in time.
            CancelledError: it was cancelled.
            ModelError: closed, or the engine's process has died.
        """
        end = None if timeout is None else time.monotonic() + timeout
        if self._wake is not None:
            # By the future's own means: `concurrent.futures.wait` does not see a cancelled one.
            with suppress(CancelledError, TimeoutError):
                answer.exception(timeout)
        else:
            while self._wait(answer, end):
                self._turn_of_step()
        if not answer.done():
            self._give_up([answer])
            raise TimeoutError(f"{self.info.model}: no answer within {timeout:g} seconds")
        return answer.result()

    def stream(self, works: Iterable[V]) -> Iterator[TreeScore]:
        """One answer per work, in order, lazily: a long run, in the engine's own windows.

        Closing it gives up what is under way.

        Raises:
            ModelError: closed, or the engine's process has died.
        """
        ahead = self.engine.groups
        under_way: deque[WorkGroup[V]] = deque()
        try:
            for together in windows(works, self.engine.window, self.engine.size):
                under_way.append(self._queue(together, joins=False))
                if ahead > 1:
                    # So that the engine has something to do while more is drawn.
                    self._begin_now(under_way[-1])
                while len(under_way) >= ahead:
                    yield from map(self.result, under_way[0].answers)
                    under_way.popleft()
            while under_way:
                yield from map(self.result, under_way[0].answers)
                under_way.popleft()
        finally:
            self._give_up([answer for group in under_way for answer in group.answers])

    def alone(self, call: Callable[[], T]) -> T:
        """What ``call`` returns; it has the engine to itself while it runs.

        Raises:
            ModelError: closed.
        """
        with self._turn:
            self._wait_alone()
            self._check_open()
            self._taken = True
        try:
            return call()
        finally:
            self._release()

    def be_stepped(self, wake: Callable[[], None] | None) -> None:
        """Have somebody else do all steps, who calls `step`: whoever waits only waits from now on.

        Args:
            wake: is called, from any thread, when there may be something to do; None to have
                whoever waits do the steps again.
        """
        with self._turn:
            self._wake = wake
            self._turn.notify_all()
        self._tell()

    def step(self) -> bool:
        """One step of the group that is next; for whom `be_stepped` has named.

        Returns:
            Whether a step was done. Where the turn is taken none is, and ``wake`` is called when
            it is given back.
        """
        with self._turn:
            if self._taken or self._alone or self._closed or not self._groups:
                return False
            self._taken = True
        self._turn_of_step()
        return True

    def close(self) -> None:
        """Close the engine; what is under way fails. Safe to call twice."""
        with self._turn:
            self._wait_alone()
            self._closed = True
            for group in self._groups:
                group.close(self._gone())
            self._groups.clear()
            self.engine.close()
            if isinstance(self.watched, Watchdog):
                self.watched.close()
            self._turn.notify_all()

    def _gone(self) -> ModelError:
        return ModelError(f"{self.info.model}: closed while it was asked; open it again")

    def _check_open(self) -> None:
        if self._closed:
            raise self._gone()

    def _queue(self, works: Sequence[V], joins: bool) -> WorkGroup[V]:
        group = WorkGroup(works, joins)
        with self._turn:
            self._check_open()
            self._groups.append(group)
        self._tell()
        return group

    def _tell(self) -> None:
        if (wake := self._wake) is not None:
            wake()

    def _wait_alone(self) -> None:
        """Wait until nobody has the turn, before any further step; called with the lock."""
        self._alone += 1
        try:
            self._turn.wait_for(lambda: not self._taken)
        finally:
            self._alone -= 1
            self._turn.notify_all()

    def _turn_of_step(self) -> None:
        """A step by whoever has the turn, which is given back."""
        try:
            self._step()
        finally:
            self._release()

    def _wait(self, answer: Answer, end: float | None) -> bool:
        """Wait for an answer or for the turn; True with the turn, False if done or out of time."""
        with self._turn:
            while not answer.done():
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return False
                # Somebody else may have come to do the steps since it began to wait.
                if not self._taken and not self._alone and self._wake is None:
                    self._check_open()
                    self._taken = True
                    return True
                self._turn.wait(left)
        return False

    def _release(self) -> None:
        """Give the turn back; groups that nobody waits for go with it."""
        with self._turn:
            self._sweep()
            self._taken = False
            self._turn.notify_all()
        self._tell()

    def _sweep(self) -> None:
        for group in [group for group in self._groups if group.over]:
            self._groups.remove(group)
            group.close()

    def _give_up(self, answers: Iterable[Answer]) -> None:
        with self._turn:
            for answer in answers:
                answer.cancel()
            if not self._taken:  # else whoever has the turn sweeps when giving it back
                self._sweep()

    def _begin_now(self, group: WorkGroup[V]) -> None:
        """The first step of a group, unless somebody else has the turn, who will come to it."""
        with self._turn:
            if self._taken or self._wake is not None or group not in self._groups:
                return
            self._taken = True
            self._groups.remove(group)
            self._groups.appendleft(group)
        self._turn_of_step()

    def _step(self) -> None:
        """One step of the group that is next; called with the turn, outside of its lock."""
        with self._turn:
            self._sweep()
            if not self._groups:
                return
            group = self._groups.popleft()
            if group.steps is None:
                self._join(group)
        try:
            if group.steps is None:
                self.batches.add(len(group.works))
                group.steps = steps_of(self.engine, group.works, self.faults, self.watched)
            ready = next(group.steps)
        except StopIteration:  # would end the caller's own loop without a word
            group.close(RuntimeError(f"{self.info.name}: ended before all was answered"))
            return
        except Exception as error:
            group.close(error)
            return
        except BaseException:  # Ctrl-C is for the thread that it came to
            group.close()
            raise
        for place, score in ready:
            answer = group.answers[place]
            if not answer.done() and answer.set_running_or_notify_cancel():
                answer.set_result(score)
        with self._turn:
            if self._one_caller and self.engine.groups == 1:
                self._groups.appendleft(group)
            else:
                self._groups.append(group)

    def _join(self, group: WorkGroup[V]) -> None:
        """Take in groups that wait right behind, as far as one step has room for them.

        Never for a window of a long run, whose works are packed the same way every time.
        """
        room = self.engine.window.step - sum(map(self.engine.size, group.works))
        while room > 0 and self._groups and group.joins:
            behind = self._groups[0]
            room -= sum(map(self.engine.size, behind.works))
            if room < 0 or not behind.joins or behind.steps is not None:
                return
            group.works += behind.works
            group.answers += behind.answers
            self._groups.popleft()
