"""Aliases under traffic: where one is moved or rolled back, its adapter serves within a second.

The file of aliases is looked at in the event loop, which costs a ``stat``; an adapter is loaded in
a thread, beside the one that serves. Requests under way end with the ranker they began with. What
is refused is tried again, as its reason may pass: an engine that is being started, say.
"""

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.applications import Starlette
from starlette.types import Lifespan

from promptrank.adapters.alias import ALIASES, AliasStep, current, read_aliases
from promptrank.basics.telling import Say
from promptrank.errors import InputError, ModelError
from promptrank.serve.hosted import Hosted, HostedTask

_EVERY = 0.25  # seconds
_FIRST, _LONGEST = (
    1.0,
    60.0,
)  # seconds until what was refused is tried again: each time twice as many


@dataclass(frozen=True, slots=True)
class FollowedAlias:
    """What a task's adapter was named by.

    Attributes:
        alias: such as ``movies@prod``.
        adapters: the project's ``adapters/``, whose file of aliases says what it stands for.
    """

    alias: str
    adapters: Path


class AliasNumbers:
    """What became of moved aliases, for Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.moves = Counter(
            "promptrank_alias_moves",
            "Moved aliases whose adapter serves now, or was refused.",
            ("task", "outcome"),
            registry=registry,
        )
        self.behind = Gauge(
            "promptrank_alias_behind",
            "1 while a task is not served with what its alias stands for.",
            ("task",),
            registry=registry,
        )


class AliasWatch:
    """Keeps hosted tasks with what their aliases stand for; for one event loop."""

    def __init__(
        self,
        hosted: Hosted,
        followed: Mapping[str, FollowedAlias],
        reopen: Callable[[str], HostedTask],
        unload: Callable[[], int],
        log: Say,
    ) -> None:
        """Watch nothing yet.

        Args:
            followed: task -> its alias.
            reopen: opens a task by name with what its alias stands for now; called in a thread.
            unload: gives back adapters that nobody uses; called often, in a thread.
            log: is given a line of JSON for whatever happens.
        """
        self._hosted, self._followed = hosted, followed
        self._reopen, self._unload, self._log = reopen, unload, log
        self._stamps: dict[Path, tuple[int, ...] | None] = {}
        self._again: dict[Path, tuple[float, float]] = {}  # when, and the pause before it
        self._whys: dict[str, str] = {}  # of the tasks that are refused
        self._numbers: AliasNumbers | None = None

    def within(self, lifespan: Lifespan[Starlette]) -> Lifespan[Starlette]:
        """A life span of the application in which aliases are watched."""

        @asynccontextmanager
        async def watched(app: Starlette) -> AsyncIterator[None]:
            self._numbers = AliasNumbers(app.state.answering.counted.registry)
            async with lifespan(app):
                task = asyncio.create_task(self._run())
                try:
                    yield
                finally:
                    task.cancel()
                    await asyncio.wait([task])

        return watched

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            if self._hosted.state != "ready":
                continue
            try:
                await self._look()
            except Exception:  # whatever it is, the next look may go well
                self._tell(event="alias", fault=traceback.format_exc())

    async def _look(self) -> None:
        for adapters in {each.adapters for each in self._followed.values()}:
            stamp = _stamp(adapters / ALIASES)
            if adapters not in self._stamps or stamp != self._stamps[adapters]:
                self._stamps[adapters] = stamp  # first: what is changed after this is seen next
                for task in self._tasks(adapters):  # what is new is told, even if wrong as before
                    self._whys.pop(task, None)
                await self._try(adapters, _FIRST)
            elif adapters in self._again and time.monotonic() >= self._again[adapters][0]:
                await self._try(adapters, min(2 * self._again[adapters][1], _LONGEST))
        # Not only what served: a shadow, a draft or an adapter that was refused may end any time.
        await asyncio.to_thread(self._unload)

    async def _try(self, adapters: Path, pause: float) -> None:
        """Follow, and once more after a pause unless all is well."""
        well = False
        try:
            well = await self._follow(adapters)
        finally:
            if well:
                self._again.pop(adapters, None)
            else:
                self._again[adapters] = time.monotonic() + pause, pause

    async def _follow(self, adapters: Path) -> bool:
        """Have each task of a file of aliases served with what its alias stands for; if all are."""
        mine = self._tasks(adapters)
        try:
            aliases = await asyncio.to_thread(read_aliases, adapters)
        except ModelError as error:
            for task, alias in mine.items():
                self._refuse(task, alias, str(error))
            return False
        for task, alias in mine.items():
            step = current(aliases.get(alias, ()))
            served = self._hosted.loaded(task)
            if step is None or step.target is None:
                self._refuse(task, alias, "the alias stands for nothing any more; set it again")
            elif _is_served(step, served):
                self._well(task)
            else:
                await self._move(task, alias, served)
        return not any(task in self._whys for task in mine)

    def _tasks(self, adapters: Path) -> dict[str, str]:
        """Tasks whose aliases are in this folder, with the alias."""
        return {n: each.alias for n, each in self._followed.items() if each.adapters == adapters}

    async def _move(self, task: str, alias: str, served: HostedTask) -> None:
        try:
            made = await asyncio.to_thread(self._reopen, task)
            if made.ranker.fingerprint != served.ranker.fingerprint:
                raise ModelError(
                    f"the prompts of {task} have changed since it was loaded (its template, for "
                    "one); start the server again to serve both"
                )
        except InputError as error:
            self._refuse(task, alias, str(error))
            return
        except Exception as error:  # the adapter that serves goes on, whatever is wrong here
            why = f"{type(error).__name__}: {error}"
            self._refuse(task, alias, why, fault=traceback.format_exc())
            return
        self._hosted.swap(made)
        self._well(task)
        self._count(task, "served")
        self._tell(
            event="alias",
            task=task,
            alias=alias,
            adapter=made.adapter_name,
            adapter_digest=made.ranker.origin.adapter_digest,
            before=served.adapter_name,
        )

    def _refuse(self, task: str, alias: str, why: str, **more: str) -> None:
        if self._whys.get(task) == why:  # tried again, and nothing new
            return
        self._whys[task] = why
        serving = self._hosted.loaded(task).adapter_name
        # Why is for the log: it may name folders.
        self._hosted.notes[task] = (
            f"{alias} was moved, and what it stands for cannot serve; {serving} goes on serving, "
            "and the server's log says why"
        )
        self._count(task, "refused")
        if self._numbers is not None:
            self._numbers.behind.labels(task).set(1)
        self._tell(event="alias", task=task, alias=alias, refused=why, serving=serving, **more)

    def _well(self, task: str) -> None:
        self._whys.pop(task, None)
        self._hosted.notes.pop(task, None)
        if self._numbers is not None:
            self._numbers.behind.labels(task).set(0)

    def _count(self, task: str, outcome: str) -> None:
        if self._numbers is not None:
            self._numbers.moves.labels(task, outcome).inc()

    def _tell(self, **facts: object) -> None:
        self._log(orjson.dumps({"time": round(time.time(), 3), **facts}, default=str).decode())


def _is_served(step: AliasStep, served: HostedTask) -> bool:
    same = step.digest == served.ranker.origin.adapter_digest
    return same and Path(step.target or "").name == served.adapter_name


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when the file does, which is replaced by every change."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size
