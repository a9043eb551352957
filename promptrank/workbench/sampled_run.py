"""A run on a sample: an edit and the saved version rank the same requests, in the background.

Both go through the runtime that answers traffic. A run asks for as many requests at a time as take
a moment, and waits before each group while real requests are ranked or wait, so that it takes the
machine's spare time.
Requests come in the order of a hash of their ids, as `promptrank eval --limit` draws them: what has
been ranked at any moment is a sample of all, and the 20 first are among the 50 first. Rankings are
kept as they are made; what was ranked before, by any run, is not ranked again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Any

from promptrank.errors import DataError, InputError
from promptrank.evaluation.bootstrap import DRAWS
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs.manifest import manifest
from promptrank.scores.columns import schema_of
from promptrank.serve.seats import Ticket
from promptrank.workbench.beside_saved import EDIT, SAVED
from promptrank.workbench.kept_rankings import KeptRankings, key_of
from promptrank.workbench.looks import Look, Progress, measured
from promptrank.workbench.versions import DONE, FAILED, STOPPED, KeptRun, Versions

GROUP = 16
"""So many requests are asked together at most."""
MOMENT = 0.5
"""Seconds that a group may take, unless it is one request: a real one waits for no more."""
PATIENCE = 10.0
"""Seconds that a group waits for real requests at most, so that a run goes on under any traffic."""
EVERY = 3.0
"""Seconds between looks at what has been ranked, or ten times what a look takes."""
PROVISIONAL_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Sides:
    """What ranks.

    Attributes:
        open_edit, open_saved: open each side's ranker; called in the run's own thread.
        busy: whether real requests are ranked or wait.
        ending: whether the server is ending.
    """

    open_edit: Callable[[], Ranker]
    open_saved: Callable[[], Ranker]
    busy: Callable[[], bool] = lambda: False
    ending: Callable[[], bool] = lambda: False


class SampledRun:
    """One run; all methods may be called from any thread.

    Attributes:
        run: its texts and facts; keys and ids once it has opened both sides.
        pruned: unnamed runs that were removed to make room for it.
    """

    def __init__(
        self,
        run: KeptRun,
        size: int | None,
        sides: Sides,
        file: RequestFile,
        versions: Versions,
        rankings: KeptRankings,
        turn: threading.Lock,
    ) -> None:
        """Put it together; `start` begins it.

        Args:
            run: `Run.part` is the part of the split.
            size: requests to rank; None for all of the part.
            turn: of which runs that are under way at once take turns.
        """
        self.run, self.pruned = run, 0
        self._size, self._sides, self._file = size, sides, file
        self._versions, self._rankings, self._turn = versions, rankings, turn
        self._lock = threading.Lock()
        self._doing, self._message = "opening", ""
        self._done = self._total = self._reused = self._ranked = 0
        self._began, self._ended = time.monotonic(), 0.0
        self._pace_from = self._began
        self._seen: Look | None = None
        self._requests: list[Request] = []  # in the order of the file, by which draws go
        self._stop = threading.Event()
        self._ticket: Ticket | None = None
        self._thread = threading.Thread(target=self._work, name="sample", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Rank no more; what has been ranked is measured and kept."""
        self._stop.set()
        if self._ticket is not None:
            self._ticket.give_up()

    def join(self, seconds: float) -> bool:
        """Wait until it has ended; False where it has not."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    @property
    def progress(self) -> Progress:
        """Where it is now."""
        with self._lock:
            now = self._ended or time.monotonic()
            left = None
            if self._ranked and not self._ended:
                left = (now - self._pace_from) / self._ranked * (self._total - self._done)
            return Progress(
                self._doing,
                self._done,
                self._total,
                self._reused,
                now - self._began,
                left,
                self._message,
            )

    @property
    def seen(self) -> Look | None:
        """The last look; None before the first."""
        with self._lock:
            return self._seen

    # -- the thread ------------------------------------------------------------------------

    def _work(self) -> None:
        state, message = FAILED, "a fault of the workbench's own; the server's log has it"
        try:
            self._rank(self._opened())
            self._set("measuring")
            state, message = (STOPPED if self._stop.is_set() else DONE), ""
            self._look(DRAWS, final=True)
        except InputError as error:
            state, message = FAILED, str(error)
            if self._sides.ending():  # which closes the model under it
                state, message = STOPPED, "the server ended"
        finally:
            with self._lock:
                self._ended, self._message, self._doing = time.monotonic(), message, state
            report = self._seen.report if self._seen is not None else None
            self._versions.ended(self.run.run_id, state, report)

    def _opened(self) -> dict[str, Ranker]:
        """Both rankers; the run is kept from now on, and what is ranked for it."""
        rankers = {EDIT: self._sides.open_edit(), SAVED: self._sides.open_saved()}
        parts = {self.run.part} if self.run.part is not None else None
        sample = Sample(self._file, parts, self._size)
        sample.hold()
        self._requests = list(sample)
        names = {request.request_id for request in self._requests}
        order = [name for name in self._file.ids(parts, self._size) if name in names]
        if not order:
            raise DataError(f"{self._file.path.name} holds no request of this part; choose another")
        digest, items = requests_digest(self._file.path), self._file.items_stamp()
        keys = {side: key_of(each.origin, digest, items) for side, each in rankers.items()}
        facts = {side: _facts(each) for side, each in rankers.items()}
        self.run = replace(
            self.run,
            edit_key=keys[EDIT],
            saved_key=keys[SAVED],
            request_ids=tuple(order),
            facts={**self.run.facts, "requests": digest, **facts},
        )
        self.pruned = self._versions.keep(self.run)
        for side, ranker in rankers.items():
            self._rankings.begin(keys[side], ranker.origin, _schema(ranker))
        with self._lock:
            self._total = len(order)
        return rankers

    def _rank(self, rankers: dict[str, Ranker]) -> None:
        keys = {EDIT: self.run.edit_key, SAVED: self.run.saved_key}
        known = {side: self._rankings.known(key) for side, key in keys.items()}
        looked = time.monotonic()
        pause = EVERY
        with self._lock:
            self._pace_from = looked
            self._reused = sum(r.request_id in known[s] for r in self._requests for s in known)
        by_id = {request.request_id: request for request in self._requests}
        order = [by_id[name] for name in self.run.request_ids]
        size, at = 1, 0
        while at < len(order):
            block = order[at : at + size]
            at += len(block)
            todo = {
                side: [request for request in block if request.request_id not in known[side]]
                for side in known
            }
            for side, requests in todo.items():
                # Where nothing was changed but by name, one side's rankings are the other's.
                if requests and not (side == SAVED and keys[SAVED] == keys[EDIT]):
                    took = self._ask(rankers[side], keys[side], requests)
                    size = max(1, size // 2) if took > MOMENT else size
                    size = min(GROUP, size * 2) if took < MOMENT / 4 else size
            if self._sides.ending():
                self.stop()
            if self._stop.is_set():
                return
            with self._lock:
                self._done += len(block)
                self._ranked += len(block) if any(todo.values()) else 0
            if time.monotonic() - looked >= pause:
                begun = time.monotonic()
                self._look(PROVISIONAL_DRAWS, final=False)
                looked = time.monotonic()
                pause = max(EVERY, 10 * (looked - begun))

    def _ask(self, ranker: Ranker, key: str, requests: Sequence[Request]) -> float:
        """Rank a group, once real requests leave room, and keep it; nothing if it is stopped.

        Returns:
            Seconds that it took.
        """
        self._wait()
        with self._turn:
            begun = time.monotonic()
            self._ticket = ticket = Ticket(ranker.opened.engine.size)
            if self._stop.is_set():  # perhaps before there was a ticket to give up
                return 0.0
            try:
                rankings = list(ranker.rank_many(requests, watch=ticket.watch, policy=False))
            except CancelledError:
                return 0.0
            took = time.monotonic() - begun
        self._rankings.put(key, rankings, _schema(ranker))
        return took

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while self._sides.busy() and time.monotonic() < until:
            self._set("waiting")
            if self._stop.wait(0.02):
                return
        self._set("ranking")

    def _look(self, draws: int, *, final: bool) -> None:
        """Measure what both have ranked."""
        names = [request.request_id for request in self._requests]
        seen = measured(
            self._file,
            self._requests,
            self._rankings.scores(self.run.saved_key, names),
            self._rankings.scores(self.run.edit_key, names),
            draws=draws,
            final=final,
        )
        if final and seen.report is not None:
            provenance = manifest("serve", self._file.task, self.run.task, run=self.run.run_id)
            seen = replace(seen, report=replace(seen.report, provenance=provenance))
        with self._lock:
            self._seen = seen

    def _set(self, doing: str) -> None:
        with self._lock:
            self._doing = doing


def _schema(ranker: Ranker) -> Any:
    return schema_of(ranker.task, answers=ranker.method.answers)


def _facts(ranker: Ranker) -> dict[str, Any]:
    """What made a side's rankings, for people who look at it later."""
    origin = ranker.origin
    engine = origin.engine or {}
    return {
        "prompt": origin.prompt,
        "task_digest": origin.task_digest,
        "engine": engine.get("name"),
        "model": engine.get("model"),
        "model_digest": engine.get("digest"),
        "adapter": origin.adapter,
        "adapter_digest": origin.adapter_digest,
    }
