"""What is said to the process and heard from it: prompts, adapters, and its deaths."""

import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count

from promptrank.engine.contract import Failure
from promptrank.engine.vllm_engine.adapter_files import RANKS, Adapter, ReadAdapters
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.process import Process
from promptrank.engine.vllm_engine.restarts import DEATHS, Backoff, Restarts
from promptrank.engine.vllm_engine.tree_prompts import Place, Work
from promptrank.errors import ModelError


class Conversation:
    """One process after another; the works of several groups may be under way at once.

    With restarts a process that dies is started anew, and what was under way is tried again, one
    tree at a time: so whatever the process dies of is known when it dies a second time, and fails
    alone.

    Attributes:
        settings: with which the process was started.
        adapters: read from their folders.
        pending: number of a prompt that was sent -> whose it is.
        read_tokens: of prompts that were answered so far.
        cached_tokens: those of them that the prefix cache had.
        restarted: processes that were started in the place of dead ones.
        device: kind of device that the process computes on; None where it does not say.
    """

    def __init__(
        self,
        settings: Launch,
        adapters: ReadAdapters,
        restarts: Restarts | None,
        seconds: float | None = None,
    ) -> None:
        """Start the process, and wait until it is up.

        Args:
            seconds: after which a process that sends nothing is taken to hang, and is ended.

        Raises:
            ModelError: it cannot be.
        """
        self.settings, self.adapters = settings, adapters
        self.read_tokens = self.cached_tokens = self.restarted = 0
        self.pending: dict[int, tuple[Work, Place]] = {}
        self.device: str | None = None
        self._numbers = count(1)
        self._adapter_numbers = count(1)
        self._loaded: dict[str, int | str] = {}  # by adapter name: its number, or why it has none
        self._process: Process | None = None
        self._end: str | None = None
        self._restarts, self._seconds = restarts, seconds
        self._backoff = Backoff(free=restarts.free) if restarts is not None else Backoff()
        self._recovering = False
        self._starts = 0
        self._loading: str | None = None  # name of the adapter
        self._died_of: Counter[str] = Counter()  # by name of the adapter that was being loaded
        self._start()

    @property
    def process_id(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.number if self._process is not None else None

    def ask(self, works: Sequence[Work]) -> None:
        """Send the prompts of one group, those that share most one after another.

        Raises:
            ModelError: the process has died, and none is there in its place.
        """
        adapters = {work.tree.adapter for work in works if not work.failure}
        order = sorted(
            (work for work in works if not work.failure),
            key=lambda work: (work.tree.adapter or "", *work.tree.prefix),
        )
        for adapter in sorted(adapters, key=lambda name: name or ""):
            try:
                number = None if adapter is None else self.number(self.adapters.of(adapter))
            except RefusedAdapter as error:
                for work in order:
                    if work.tree.adapter == adapter:
                        work.failure = bad_adapter(work, error)
                continue
            rows = []
            for work in order:
                if work.tree.adapter != adapter:
                    continue
                for place, ids in work.prompts():
                    name = next(self._numbers)
                    self.pending[name] = work, place
                    rows.append([name, ids, place.wanted, number])
            if rows:
                self._send({"score": rows, "behind": len(works)})

    def receive(self, adapter: Adapter | None = None) -> None:
        """Take in one message of the process; all groups share what it brings.

        Where the process has died and is started anew, all that was under way has come.

        Raises:
            ModelError: it has died, and none is there in its place.
        """
        process = self._live()
        try:
            message = process.receive(self._seconds)
        except ModelError as error:
            self._died(error)
            return
        read, cached = message.get("tokens", (0, 0))
        self.read_tokens += read
        self.cached_tokens += cached
        if "done" in message:
            self._backoff.worked()
        for name, logprobs, greedy in message.get("done", ()):
            if name in self.pending:
                work, place = self.pending.pop(name)
                work.put(place, logprobs, greedy)
        for name, why in message.get("refused", ()):
            if name in self.pending:
                work, place = self.pending.pop(name)
                work.refuse(place, why)
        if adapter is not None and "adapter" in message:
            number, why = message["adapter"]
            self._loaded[adapter.name] = number if why is None else why

    def drop(self, works: Iterable[Work]) -> None:
        """Forget what a group that was given up still waits for."""
        mine = {id(work) for work in works if work.left}
        names = [name for name, (work, _) in self.pending.items() if id(work) in mine]
        for name in names:
            del self.pending[name]
        if names and self._process is not None:
            with suppress(ModelError):  # whoever scores next is told
                self._process.send({"drop": names})

    def number(self, adapter: Adapter) -> int:
        """The adapter's number in the process, which is opened anew where its rank has no room.

        Raises:
            RefusedAdapter: vLLM does not take it; the process goes on.
            ModelError: the process has died, and none is there in its place.
        """
        if adapter.rank > self.settings.lora_rank:
            rank = next(rank for rank in RANKS if rank >= adapter.rank)
            self.restart(replace(self.settings, lora_rank=rank))
        while adapter.name not in self._loaded:
            self._load(adapter)
        number_or_reason = self._loaded[adapter.name]
        if isinstance(number_or_reason, str):
            raise RefusedAdapter(
                f"{adapter.folder}: vLLM cannot load the adapter ({number_or_reason})"
            )
        return number_or_reason

    def unload(self, folder: str) -> None:
        """Have the process give back an adapter's weights, unless another folder has the same.

        Nothing happens while prompts of it are under way.

        Raises:
            ModelError: the process has died, and none is there in its place.
        """
        if any(work.tree.adapter == folder for work, _ in self.pending.values()):
            return
        gone = self.adapters.forget(folder)
        number = self._loaded.pop(gone.name, None) if gone is not None else None
        if isinstance(number, int) and self._process is not None:
            self._send({"unload": number})

    def restart(self, settings: Launch) -> None:
        """Start the process anew with other settings, once all that is under way is answered.

        Raises:
            ModelError: it cannot be.
        """
        while self.pending:
            self.receive()
        self._live()
        self._end_process()
        before, self.settings = self.settings, settings
        try:
            self._start()
        except ModelError as error:
            self.settings = before  # with which it has run
            if self._restarts is None:
                self._end = self._end or str(error)
            raise

    def close(self) -> None:
        """End the process; memory goes back with it."""
        self._end = self._end or "the engine is closed; open another"
        self.pending.clear()
        self._end_process()

    @property
    def ailing(self) -> bool:
        """Whether `mend` has anything to do; from any thread."""
        if self._restarts is None or self._end is not None:
            return False
        process = self._process
        return not self._backoff.left if process is None else process.ended

    def mend(self) -> None:
        """Start a process that has died while nobody asked, or that could not be started before.

        Raises:
            ModelError: it cannot be started now either.
        """
        if not self.ailing:
            return
        if self._process is None:
            self._live()
        else:
            self._died(ModelError(f"{self.settings.model}: the vLLM process has ended"))

    def _start(self) -> None:
        self._loaded.clear()
        self._adapter_numbers = count(1)
        self._starts += 1
        self._process = Process(self.settings)
        self._finalizer = weakref.finalize(self, self._process.close)
        try:
            self.device = self._process.wait_until_up()
        except ModelError:
            self._end_process()
            raise

    def _end_process(self) -> None:
        if self._process is not None:
            self._finalizer()
            self._process = None

    def _live(self) -> Process:
        if self._process is not None:
            return self._process
        if self._end is not None or self._restarts is None:
            raise ModelError(self._end or "the engine is closed; open another")
        process = self._start_anew(
            f"{self.settings.model}: the vLLM process could not be started", self._restarts
        )
        self._restarts.answers(self)
        return process

    def _load(self, adapter: Adapter) -> None:
        """Have the process load an adapter; undone where it dies meanwhile and is started anew."""
        if self._died_of[adapter.name] >= DEATHS:
            self._loaded[adapter.name] = f"the process has died of it {DEATHS} times"
            return
        self._live()
        number, starts = next(self._adapter_numbers), self._starts
        self._loading = adapter.name
        try:
            self._send({"adapter": [number, adapter.name, adapter.folder]})
            while adapter.name not in self._loaded and starts == self._starts:
                self.receive(adapter)
        finally:
            self._loading = None

    def _send(self, message: dict[str, object]) -> None:
        process = self._live()
        try:
            process.send(message)
        except ModelError as error:
            self._died(error)

    def _died(self, error: ModelError) -> None:
        """With restarts, returns once a new process has answered all that was under way.

        Raises:
            ModelError: no restarts, or none now.
        """
        self._end_process()
        if self._restarts is None:
            self._end = self._end or str(error)
            self.close()
            raise error
        self._backoff.died()
        if self._loading is not None:
            self._died_of[self._loading] += 1
        if self._recovering:
            raise _Death(str(error))
        self._recover(str(error), self._restarts)

    def _recover(self, why: str, restarts: Restarts) -> None:
        suspects = list({id(work): work for work, _ in self.pending.values()}.values())
        self.pending.clear()
        restarts.fell(self, why)
        loading, self._loading = self._loading, None
        for work in suspects:
            work.deaths += loading is None
        self._recovering = True
        try:
            self._start_anew(why, restarts)
            while suspects:
                self._alone(suspects[0], restarts)
                del suspects[0]
        except ModelError as error:
            for work in suspects:
                work.lost = str(error)
            raise
        finally:
            self._recovering = False
        restarts.answers(self)

    def _alone(self, work: Work, restarts: Restarts) -> None:
        """Answer a tree with the process to itself."""
        while work.deaths < DEATHS:
            work.again()
            try:
                self.ask([work])
                while work.left:
                    self.receive()
            except _Death as death:
                self.pending.clear()
                work.deaths += 1
                self._start_anew(str(death), restarts)
            else:
                return
        work.give_up(
            Failure(
                "killed_engine",
                f"request {work.tree.tree_id}: the vLLM process has died of it {DEATHS} times and "
                "it is not tried again; try engine packed, or a smaller request",
            )
        )

    def _start_anew(self, why: str, restarts: Restarts) -> Process:
        if left := self._backoff.left:
            raise ModelError(
                f"{why}; it has failed {self._backoff.failures} times in a row, and is started "
                f"again in {left:.0f} s"
            )
        try:
            self._start()
        except ModelError:
            self._backoff.failed()
            raise
        restarts.started()
        self.restarted += 1
        assert self._process is not None
        return self._process


class _Death(ModelError):
    """The process has died while trees of a dead one were tried again."""


class RefusedAdapter(ModelError):
    """An adapter that vLLM itself refuses; the process goes on."""


def bad_adapter(work: Work, error: ModelError) -> Failure:
    """Why a tree has no scores whose adapter cannot be used."""
    return Failure("bad_adapter", f"request {work.tree.tree_id}: {error}")
