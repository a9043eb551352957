"""The engine itself: trees in, prompts to the process, scores out in the order given."""

import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from promptrank.engine.contract import EngineInfo, Failure, Tree, TreeScore
from promptrank.engine.tree_checks import Limits, branch_failure, tree_failure
from promptrank.engine.vllm_engine.adapter_files import RANKS, Adapter, read_adapter, weight_shapes
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.process import Process
from promptrank.engine.vllm_engine.tree_prompts import Place, Work
from promptrank.errors import ModelError

_WINDOW_TREES = 64  # ordered among themselves; twice as many may be on their way
_WINDOW_TOKENS = 200_000


class VllmEngine:
    """See ``open_vllm``."""

    def __init__(self, settings: Launch, info: EngineInfo, limits: Limits) -> None:
        self.info = info
        self._settings, self._limits = settings, limits
        self._numbers = count(1)
        self._pending: dict[int, tuple[Work, Place]] = {}
        self._adapters: dict[str, Adapter] = {}
        self._loaded: dict[str, int | str] = {}  # by adapter name: its number, or why it has none
        self._shapes: dict[str, tuple[int, ...]] | None = None
        self._process: Process | None = None
        self._end: str | None = None
        self._start()

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order; looks ahead over a bounded number of trees.

        Raises:
            ModelError: the engine is closed, or its process has died.
        """
        waiting: deque[Work] = deque()
        try:
            for window in _windows(trees):
                waiting.extend(self._begin(window))
                while waiting and (len(waiting) > _WINDOW_TREES or not waiting[0].left):
                    yield self._finish(waiting[0])
                    waiting.popleft()
            while waiting:
                yield self._finish(waiting[0])
                waiting.popleft()
        finally:
            self._drop(waiting)

    def load(self, adapter: str) -> None:
        """Load an adapter folder now.

        Raises:
            ModelError: it cannot be used.
        """
        self._number(self._adapter(adapter))

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

    def _live(self) -> Process:
        if self._process is None:
            raise ModelError(self._end or "the engine is closed; open another")
        return self._process

    def _begin(self, window: list[Tree]) -> list[Work]:
        """Check the trees and send their prompts, those that share most one after another."""
        works = [self._work(tree) for tree in window]
        adapters = {w.tree.adapter for w in works if not w.failure}
        order = sorted(
            (w for w in works if not w.failure),
            key=lambda w: (w.tree.adapter or "", *w.tree.prefix),
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
                self._send({"score": rows})
        return works

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
            if self._shapes is None:
                self._shapes = weight_shapes(Path(self._settings.model))
            self._adapters[folder] = read_adapter(folder, self._shapes)
        return self._adapters[folder]

    def _number(self, adapter: Adapter) -> int:
        """The adapter's number in the process, which is opened anew where its rank has no room."""
        if adapter.rank > self._settings.lora_rank:
            while self._pending:
                self._receive()
            rank = next(rank for rank in RANKS if rank >= adapter.rank)
            self._settings = replace(self._settings, lora_rank=rank)
            self._live()
            self._finalizer()
            self._start()
        if adapter.name not in self._loaded:
            number = len(self._loaded) + 1
            self._send({"adapter": [number, adapter.name, adapter.folder]})
            while adapter.name not in self._loaded:
                self._receive(adapter)
        found = self._loaded[adapter.name]
        if isinstance(found, str):
            raise _Refused(f"{adapter.folder}: vLLM cannot load the adapter ({found})")
        return found

    def _finish(self, work: Work) -> TreeScore:
        while work.left:
            self._receive()
        return work.result()

    def _send(self, message: dict[str, object]) -> None:
        try:
            self._live().send(message)
        except ModelError as error:
            self._died(error)
            raise

    def _receive(self, adapter: Adapter | None = None) -> None:
        """Take in one message of the process; all runs share what it brings."""
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
        """Forget what a run that was given up still waits for."""
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


def _windows(trees: Iterable[Tree]) -> Iterator[list[Tree]]:
    window: list[Tree] = []
    tokens = 0
    for tree in trees:
        window.append(tree)
        tokens += sum(len(tree.prefix) + len(branch.ids) for branch in tree.branches)
        if len(window) >= _WINDOW_TREES or tokens >= _WINDOW_TOKENS:
            yield window
            window, tokens = [], 0
    if window:
        yield window
