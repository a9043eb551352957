"""A ranker: a task's method over an opened engine, and the steps after it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from promptrank.engine.contract import Answers, EngineInfo
from promptrank.errors import InputError
from promptrank.prompt.encode import Encoder
from promptrank.ranking.loop import Pause, Watch, paused_rankings, rankings
from promptrank.ranking.method import Method
from promptrank.ranking.ranking import Ranking
from promptrank.ranking.step import Step
from promptrank.records import Request
from promptrank.requests.dicts import request_from_dict
from promptrank.runtime.opened import Opened
from promptrank.schema.task import Task
from promptrank.scores.origin import Origin

Folder = Callable[[str | Path], str]
"""An adapter's name, path or alias -> its folder, checked."""


class Ranker:
    """Ranks requests of one task; several threads may use it at once.

    Decoders and students are opened alike (`promptrank.open_ranker`) and rank by the same lines.

    Attributes:
        task: whose questions are asked.
        origin: what makes its scores what they are.
        method: how requests are asked about.
        opened: the engine that answers, which other rankers may share.
        encoder: requests to token ids; None for students, which read fields.
        steps: what changes rankings afterwards.
        policy: the task's policy steps, which come last.
    """

    def __init__(
        self,
        task: Task,
        method: Method,
        opened: Opened[Any],
        origin: Origin,
        *,
        encoder: Encoder | None = None,
        steps: tuple[Step, ...] = (),
        adapter: str | None = None,
        folder_of: Folder = str,
        notes: Callable[[], tuple[str, ...]] = tuple,
    ) -> None:
        """Put the parts together.

        Args:
            adapter: folder of the adapter that is on where a call names none.
            folder_of: finds and checks adapters that a call names.
            notes: what was fallen back on while ranking.
        """
        self.task, self.method, self.opened, self.origin = task, method, opened, origin
        self.encoder, self.steps, self.adapter = encoder, steps, adapter
        self.notes = notes
        self.policy: tuple[Step, ...] = ()
        self._folder_of = folder_of
        self._close: Callable[[], None] | None = None

    @property
    def info(self) -> EngineInfo:
        """Facts about what ranks, for manifests and reports."""
        return self.opened.info

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that turns a request into what is scored."""
        return self.method.fingerprint

    def rank(self, request: Request | Mapping[str, Any]) -> Ranking:
        """Rank one request: a `Request`, or a plain dict as in docs/reference/requests.md.

        Raises:
            DataError: a dict that is no request.
        """
        return next(self.rank_many([request]))

    def rank_many(
        self,
        requests: Iterable[Request | Mapping[str, Any]],
        *,
        adapter_of: Callable[[Request], str | Path | None] | None = None,
        watch: Watch | None = None,
        policy: bool = True,
        ordered: int = 0,
    ) -> Iterator[Ranking]:
        """One ranking per request, in order, lazily; several requests share a forward pass.

        Args:
            adapter_of: the adapter of each request (a folder, a name, an alias, or None for the
                base model), where they differ; the ranker's own for all where left out.
            watch: sees work and its results to come, and may cancel these from any thread.
            policy: whether policy steps run; pairs that are scored one by one are no list.
            ordered: so many requests at a time are ranked, and given, in the order of (adapter,
                prefix); 0 for the order they come in.

        Raises:
            DataError: a dict that is no request, or that has no id where the task explores.
            InputError: adapters by request where there can be none.
            ModelError: an adapter that is not there, or that does not fit model or task.
            CancelledError: (of concurrent.futures) whoever watches has given it up.
        """
        if adapter_of is not None and self.origin.fusion is not None:
            raise InputError("a fusion belongs to one adapter; rank without adapter_of")
        records = (r if isinstance(r, Request) else request_from_dict(r) for r in requests)
        chosen = self._chosen(adapter_of) if adapter_of is not None else self._own_adapter()
        ranked = rankings(self.method, self.opened, records, chosen, watch, ordered)
        steps = (*self.steps, *self.policy) if policy else self.steps
        return map(partial(_stepped, steps), ranked) if steps else ranked

    def rank_paused(
        self, requests: Iterable[Request], watch: Watch, ordered: int
    ) -> Iterator[Ranking | Pause]:
        """As `rank_many`, with the pauses of `promptrank.ranking.loop.paused_rankings`."""
        chosen = self._own_adapter()
        ranked = paused_rankings(self.method, self.opened, requests, chosen, watch, ordered)
        steps = (*self.steps, *self.policy)
        return (each if isinstance(each, Pause) else _stepped(steps, each) for each in ranked)

    def _own_adapter(self) -> Callable[[Request], str | None] | None:
        return None if self.adapter is None else lambda request: self.adapter

    def _chosen(
        self, adapter_of: Callable[[Request], str | Path | None]
    ) -> Callable[[Request], str | None]:
        def folder(request: Request) -> str | None:
            name = adapter_of(request)
            return self._folder_of(name) if name is not None else None

        return folder

    def on_close(self, close: Callable[[], None]) -> None:
        """What to call when it is closed: gives back what was opened for this ranker alone."""
        self._close = close

    def put_before(self, engine: Answers[Any]) -> None:
        """Rank through another engine, one that asks the present one; it is closed with this."""
        inner = self._close
        self.opened = Opened(engine)

        def close() -> None:
            engine.close()
            if inner is not None:
                inner()

        self._close = close

    def close(self) -> None:
        """Give back memory that no other ranker shares; safe to call twice."""
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _stepped(steps: Iterable[Step], ranking: Ranking) -> Ranking:
    for step in steps:
        ranking = step(ranking)
    return ranking
