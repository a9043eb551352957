"""The runtime: what is opened once and shared by every task, request and run of a process."""

import threading
import weakref
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from promptrank.caching.cached_engine import CachedEngine, bare_engine
from promptrank.engine.compute import Compute
from promptrank.engine.contract import Answers, Engine, Tree
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.errors import ModelError
from promptrank.runtime.decoders import ailing, apart, make_room, mend, open_engine, settle
from promptrank.runtime.opened import Opened
from promptrank.runtime.stepping import Stepping
from promptrank.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from promptrank.caching.score_cache import ScoreCache
    from promptrank.prompt.tokenizer import TextTokenizer

V = TypeVar("V")
T = TypeVar("T")


def _silent(_: str) -> None: ...


class _Once(Generic[T]):
    """Something made by the first who asks; others wait for it, and only they."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: T | None = None

    def get(self, make: Callable[[], T]) -> T:
        with self._lock:
            if self._made is None:
                self._made = make()
            return self._made

    def taken(self) -> T | None:
        """What was made, if anything was; waits for one who is at it."""
        with self._lock:
            return self._made


class Runtime:
    """Owns opened models with their adapters, and tokenizers; all methods from any thread.

    Attributes:
        restarts: of engines with a process of their own; None where its death is an error.
        stepping: whether it is a server's, whom many threads ask.
        timeout: seconds that a step of an engine may take; None for what engines have themselves.
    """

    def __init__(
        self,
        restarts: Restarts | None = None,
        *,
        stepping: bool = False,
        cache: "ScoreCache | None" = None,
        timeout: float | None = None,
        timed_out: Callable[[str], None] | None = None,
    ) -> None:
        """Own nothing yet.

        Args:
            restarts: takes what has engines whose process dies start another.
            cache: stands before every decoder that is opened; it stays open when this is closed.
            stepping: one thread does the steps of all decoders that compute in this process, for
                servers; whoever waits does them where left out, which is faster for few callers.
            timeout: seconds that a step may take. A process of the engine's own is ended then; an
                engine that computes in this process ends it (`promptrank.runtime.watchdog`).
            timed_out: is told why, before this process is ended so.
        """
        self.restarts, self.stepping, self.timeout = restarts, stepping, timeout
        self._timed_out = timed_out
        self._cache = cache
        self._stepping = Stepping() if stepping else None
        self._lock = threading.Lock()
        self._closed = False
        self._opened: dict[Hashable, _Once[Opened[Any]]] = {}
        self._tokenizers: dict[Path, _Once[TextTokenizer]] = {}
        self._digests: dict[str, str] = {}  # of adapters and models, by folder
        self._users: dict[tuple[Opened[Any], str], weakref.WeakSet[Any]] = {}

    def opened(self, key: Hashable, make: Callable[[], Answers[V]]) -> Opened[V]:
        """What stands under ``key``; made at the first call.

        Raises:
            ModelError: the runtime is closed; and what ``make`` raises, at each call until it does
                not.
        """
        with self._lock:
            self._check_open()
            once = self._opened.setdefault(key, _Once())
        return once.get(lambda: self._watched(Opened(make())))

    def _watched(self, opened: Opened[V]) -> Opened[V]:
        if self.timeout is not None and not apart(bare_engine(opened.engine)):
            opened.watched = Watchdog(self.timeout, opened.info.name, before=self._timed_out)
        return opened

    def decoder(
        self,
        folder: Path,
        *,
        name: str,
        engine: str,
        compute: Compute = Compute(),  # noqa: B008 (frozen)
        longest: int | None = None,
        adapter: str | None = None,
        say: Callable[[str], None] = _silent,
    ) -> Opened[Tree]:
        """The engine by name over the model in ``folder``; tasks on one model share it.

        Adapters are loaded into it as trees name them. vLLM sets memory aside for the longest
        path: where a later task needs a longer one its process is started anew in place, once what
        is under way is answered, as a second one beside it would have no memory on a GPU. The
        earlier tasks go on with it.

        Args:
            name: of the model, as users give it; `info` keeps that of the first call.
            engine: one of `decoders.ENGINES`.
            compute: threads, device and dtype; others than before are another process of vLLM, or
                a second copy of the model.
            longest: tokens of the longest prompt that the task allows, if it says.
            adapter: folder of an adapter to load now, so that a wrong one is an error now.
            say: is told what takes long.

        Raises:
            ModelError: the folder or the adapter cannot be used, the engine is not installed, it
                or the machine does not have the device or dtype, or the runtime is closed.
        """
        compute = settle(engine, compute)
        place = folder.resolve()
        opened = self.opened(
            ("decoder", place, engine, compute),
            lambda: self._cached(
                open_engine(
                    engine,
                    folder,
                    name,
                    adapter,
                    compute,
                    longest,
                    say,
                    self.restarts,
                    self.timeout,
                ),
                say,
            ),
        )
        shared = cast(Engine, opened.engine)
        if self._stepping is not None and engine in ("packed", "plain", "fake"):
            self._stepping.take(opened)
        if engine == "vllm":
            opened.alone(lambda: make_room(bare_engine(shared), place, longest))
        if adapter is not None:
            opened.alone(lambda: shared.load(adapter))
        return opened

    def mend(self) -> None:
        """Start the processes anew that have died while nobody asked; for whoever looks often.

        Raises:
            ModelError: it cannot be done now; those who ask are told too, until it can.
        """
        with self._lock:
            every = list(self._opened.values())
        for once in every:
            opened = once.taken()
            if opened is not None and ailing(bare_engine(opened.engine)):
                opened.alone(partial(mend, bare_engine(opened.engine)))

    def know(self, folder: str, digest: str) -> None:
        """Hold the files of an adapter or a model against those loaded from this folder before.

        Engines keep what they have loaded, so scores of a changed folder would be those of the old
        weights under the name of the new ones.

        Raises:
            ModelError: they have changed since.
        """
        with self._lock:
            if self._digests.setdefault(folder, digest) != digest:
                raise ModelError(
                    f"{folder}: the files have changed since they were loaded here; open another "
                    "runtime for them, or give what is new a folder of its own"
                )

    def uses(self, user: object, opened: Opened[Tree], adapter: str) -> None:
        """Note who ranks with an adapter; `unload_unused` gives it back once they all are gone.

        Args:
            user: is not kept alive by this.
            adapter: folder, as trees name it.
        """
        with self._lock:
            self._users.setdefault((opened, adapter), weakref.WeakSet()).add(user)

    def unload_unused(self) -> int:
        """Give back the weights of adapters whose users are gone; how many.

        Waits for the step that an engine is at. The folder may hold other files afterwards.

        Raises:
            ModelError: an engine's process has died.
        """
        with self._lock:
            unused = [key for key, users in self._users.items() if not users]
            for key in unused:
                del self._users[key]
            still = {adapter for _, adapter in self._users}
            for _, adapter in unused:
                if adapter not in still:
                    self._digests.pop(adapter, None)
        for opened, adapter in unused:
            engine = cast(Engine, opened.engine)
            opened.alone(partial(engine.unload, adapter))
        return len(unused)

    def tokenizer(self, folder: Path) -> "TextTokenizer":
        """The tokenizer in a model's folder, opened once.

        Raises:
            ModelError: no tokenizer there, or one that cannot be used; or the runtime is closed.
        """
        from promptrank.prompt.tokenizer import open_tokenizer

        with self._lock:
            self._check_open()
            once = self._tokenizers.setdefault(folder.resolve(), _Once())
        return once.get(lambda: open_tokenizer(folder))

    def close(self) -> None:
        """Close all that was opened; safe to call twice."""
        with self._lock:
            self._closed = True
            every, self._opened = list(self._opened.values()), {}
            self._users = {}
            self._tokenizers = {}
        for once in every:
            if (opened := once.taken()) is not None:
                opened.close()
        if self._stepping is not None:
            self._stepping.close()

    def _cached(self, engine: Engine, say: Callable[[str], None]) -> Engine:
        if self._cache is None:
            return engine
        return CachedEngine(engine, self._cache, say=say)

    def _check_open(self) -> None:
        if self._closed:
            raise ModelError("the runtime is closed; make another")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
