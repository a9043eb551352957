"""The engine itself: trees in, prompts to the process, scores out as its messages bring them."""

import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from promptrank.engine.contract import EngineInfo, Failure, Steps, Tree, TreeScore, Window
from promptrank.engine.model_files import adapter_stamp
from promptrank.engine.tree_checks import Limits, branch_failure, tree_failure
from promptrank.engine.vllm_engine.adapter_files import RANKS, Adapter, read_adapter
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.process import Process
from promptrank.engine.vllm_engine.tree_prompts import Place, Work
from promptrank.engine.windows import in_order
from promptrank.errors import ModelError


class VllmEngine:
    """See ``open_vllm``."""

    window = Window(64, 200_000)  # ordered among themselves
    groups = 2  # the process has the next one before the last is answered

    def __init__(self, settings: Launch, info: EngineInfo, limits: Limits) -> None:
        self.info = info
        self._settings, self._limits = settings, limits
        self._numbers = count(1)
        self._adapter_numbers = count(1)
        self._pending: dict[int, tuple[Work, Place]] = {}
        self._adapters: dict[str, Adapter] = {}
        self._loaded: dict[str, int | str] = {}  # by adapter name: its number, or why it has none
        self._refused: dict[tuple[object, ...], str] = {}  # by files as they were: why
        self._process: Process | None = None
        self._end: str | None = None
        self._start()

    def size(self, tree: Tree) -> int:
        """Tokens of all paths, shared ones as often as they are sent."""
        return sum(len(tree.prefix) + len(branch.ids) for branch in tree.branches)

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """The first step sends the prompts; each other takes in one message, if it needs one.

        A message may bring scores of other groups, which these have at their next step. The process
        works on small groups first. An adapter that is not loaded yet is loaded in the first step;
        where it has a larger rank than there is room for, all that is under way is waited for.

        Raises:
            ModelError: the engine is closed, or its process has died.
        """
        works = [self._work(tree) for tree in trees]
        waiting = dict(enumerate(works))
        try:
            self._ask(works)
            yield _ready(waiting)
            while waiting:
                if all(work.left for work in waiting.values()):
                    self._receive()
                yield _ready(waiting)
        finally:
            self._drop(waiting.values())

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order; looks ahead over a bounded number of trees.

        Raises:
            ModelError: the engine is closed, or its process has died.
        """
        return in_order(self, trees)

    def load(self, adapter: str) -> None:
        """Load an adapter folder now.

        Raises:
            ModelError: it cannot be used.
        """
        self._number(self._adapter(adapter))

    def unload(self, adapter: str) -> None:
        """Have the process give back an adapter's weights, unless another folder has the same.

        Nothing happens while prompts of it are under way.

        Raises:
            ModelError: the engine is closed, or its process has died.
        """
        if any(work.tree.adapter == adapter for work, _ in self._pending.values()):
            return
        gone = self._adapters.pop(adapter, None)
        if gone is None or any(other.name == gone.name for other in self._adapters.values()):
            return
        number = self._loaded.pop(gone.name, None)
        if isinstance(number, int):
            self._send({"unload": number})

    def lengthen(self, max_tokens: int) -> None:
        """Take paths of up to ``max_tokens`` from now on: starts the process anew.

        Raises:
            ModelError: the engine is closed, or vLLM cannot be opened for so many.
        """
        self._restart(replace(self._settings, max_tokens=max_tokens))
        self._limits = replace(self._limits, max_tokens=max_tokens)
        self.info = replace(self.info, max_tokens=max_tokens)

    def close(self) -> None:
        """End the process; memory goes back with it."""
        self._end = self._end or "the engine is closed; open another"
        self._pending.clear()
        if self._process is not None:
            self._finalizer()
            self._process = None

    @property
    def process_id(self) -> int | None:
        """Of the process that runs vLLM, while there is one."""
        return self._process.number if self._process is not None else None

    def _start(self) -> None:
        self._loaded.clear()
        self._process = Process(self._settings)
        self._finalizer = weakref.finalize(self, self._process.close)
        self._process.wait_until_up()

    def _restart(self, settings: Launch) -> None:
        """Start the process anew, once all that is under way is answered."""
        while self._pending:
            self._receive()
        self._live()
        self._finalizer()
        self._settings = settings
        self._start()

    def _live(self) -> Process:
        if self._process is None:
            raise ModelError(self._end or "the engine is closed; open another")
        return self._process

    def _ask(self, works: Sequence[Work]) -> None:
        """Send the prompts of one group, those that share most one after another."""
        adapters = {work.tree.adapter for work in works if not work.failure}
        order = sorted(
            (work for work in works if not work.failure),
            key=lambda work: (work.tree.adapter or "", *work.tree.prefix),
        )
        for adapter in sorted(adapters, key=lambda name: name or ""):
            try:
                number = None if adapter is None else self._number(self._adapter(adapter))
            except _Refused as error:
                for work in order:
                    if work.tree.adapter == adapter:
                        work.failure = _bad_adapter(work.tree, error)
                continue
            rows = []
            for work in order:
                if work.tree.adapter != adapter:
                    continue
                for place, ids in work.prompts():
                    name = next(self._numbers)
                    self._pending[name] = work, place
                    rows.append([name, ids, place.wanted, number])
            if rows:
                self._send({"score": rows, "behind": len(works)})

    def _work(self, tree: Tree) -> Work:
        failure = tree_failure(tree, self._limits)
        if failure is None and tree.adapter is not None:
            try:
                self._adapter(tree.adapter)
            except ModelError as error:
                failure = _bad_adapter(tree, error)
        work = Work(tree, failure)
        if failure is None:
            for number, branch in enumerate(tree.branches):
                if bad := branch_failure(tree, branch, self._limits):
                    work.fail(number, bad)
        return work

    def _adapter(self, folder: str) -> Adapter:
        """The adapter in a folder, read once."""
        if folder not in self._adapters:
            stamp = adapter_stamp(Path(folder))
            if why := self._refused.get(stamp):
                raise ModelError(why)
            try:
                self._adapters[folder] = read_adapter(folder, Path(self._settings.model))
            except ModelError as error:
                self._refused[stamp] = str(error)
                raise
        return self._adapters[folder]

    def _number(self, adapter: Adapter) -> int:
        """The adapter's number in the process, which is opened anew where its rank has no room."""
        if adapter.rank > self._settings.lora_rank:
            rank = next(rank for rank in RANKS if rank >= adapter.rank)
            self._restart(replace(self._settings, lora_rank=rank))
        if adapter.name not in self._loaded:
            number = next(self._adapter_numbers)
            self._send({"adapter": [number, adapter.name, adapter.folder]})
            while adapter.name not in self._loaded:
                self._receive(adapter)
        number_or_reason = self._loaded[adapter.name]
        if isinstance(number_or_reason, str):
            raise _Refused(f"{adapter.folder}: vLLM cannot load the adapter ({number_or_reason})")
        return number_or_reason

    def _send(self, message: dict[str, object]) -> None:
        try:
            self._live().send(message)
        except ModelError as error:
            self._died(error)
            raise

    def _receive(self, adapter: Adapter | None = None) -> None:
        """Take in one message of the process; all groups share what it brings."""
        try:
            message = self._live().receive()
        except ModelError as error:
            self._died(error)
            raise
        for name, logprobs, greedy in message.get("done", ()):
            if name in self._pending:
                work, place = self._pending.pop(name)
                work.put(place, logprobs, greedy)
        for name, why in message.get("refused", ()):
            if name in self._pending:
                work, place = self._pending.pop(name)
                work.refuse(place, why)
        if adapter is not None and "adapter" in message:
            number, why = message["adapter"]
            self._loaded[adapter.name] = number if why is None else why

    def _drop(self, works: Iterable[Work]) -> None:
        """Forget what a group that was given up still waits for."""
        mine = {id(work) for work in works if work.left}
        names = [name for name, (work, _) in self._pending.items() if id(work) in mine]
        for name in names:
            del self._pending[name]
        if names and self._process is not None:
            with suppress(ModelError):  # whoever scores next is told
                self._send({"drop": names})

    def _died(self, error: ModelError) -> None:
        self._end = self._end or str(error)
        self.close()


class _Refused(ModelError):
    """An adapter that vLLM itself refuses; the process goes on."""


def _bad_adapter(tree: Tree, error: ModelError) -> Failure:
    return Failure("bad_adapter", f"request {tree.tree_id}: {error}")


def _ready(waiting: dict[int, Work]) -> list[tuple[int, TreeScore]]:
    """Take out of ``waiting`` the trees of which nothing is left to come."""
    places = [place for place, work in waiting.items() if not work.left]
    return [(place, waiting.pop(place).result()) for place in places]
