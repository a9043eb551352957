"""The engine itself: trees in, prompts to the server, scores out as its answers come."""

import math
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

from promptrank.engine.contract import EngineInfo, Failure, Steps, Tree, TreeScore, Window
from promptrank.engine.http_engine.completions import (
    Call,
    Completions,
    NotAnswered,
    PromptAnswer,
    ServedModel,
)
from promptrank.engine.limits import model_limits
from promptrank.engine.tree_checks import Limits, branch_failure, tree_failure
from promptrank.engine.vllm_engine.tree_prompts import Place, Work
from promptrank.engine.windows import in_order
from promptrank.errors import ModelError

KEY = "PROMPTRANK_HTTP_KEY"
"""Variable of the environment with the server's key, where it wants one."""
SECONDS = 120.0
"""For one answer."""
AT_ONCE = 8
_MOMENT = 0.25  # seconds
_TOGETHER = 16  # prompts of one call
_CLOSED = "the engine is closed; open another"


@dataclass(frozen=True, slots=True)
class _Prompt:
    """One prompt and where its answer goes."""

    work: Work
    place: Place
    ids: list[int]


def open_http(
    url: str,
    folder: str | Path,
    *,
    name: str | None = None,
    adapters: Iterable[str] = (),
    max_tokens: int | None = None,
    seconds: float = SECONDS,
) -> "HttpEngine":
    """A model that a server has, over the tokenizer and config in ``folder``.

    Args:
        url: of an OpenAI-compatible completions server, such as ``http://localhost:8001``.
        folder: the same model, for its tokenizer and limits; its weights are not read.
        name: what `EngineInfo.model` says, and how the server names the model if it has several.
        adapters: folders of adapters that the server is to have.
        max_tokens: longest path; what model and server take if None, and never more than that.
        seconds: for one answer.

    Raises:
        ModelError: no server there, it does not have the model or an adapter, or it does not return
            the log-probs of ids that are named.
    """
    server = Completions(url, key=os.environ.get(KEY), seconds=seconds, at_once=AT_ONCE)
    try:
        models = server.models()
        base = _base(server.url, models, Path(folder), name)
        own = model_limits(Path(folder))
        most = (own.max_tokens, base.max_tokens, max_tokens)
        longest = min(number for number in most if number is not None)
        engine = HttpEngine(server, base, models, name or str(folder), Limits(longest, own.vocab))
        for adapter in adapters:
            engine.load(adapter)
        _check_answers(server, base.name, own.vocab)
    except BaseException:
        server.close()
        raise
    return engine


class HttpEngine:
    """See ``open_http``."""

    window = Window(64, 200_000)
    groups = 2  # the server has the next one before the last is answered

    def __init__(
        self,
        server: Completions,
        base: ServedModel,
        models: Sequence[ServedModel],
        name: str,
        limits: Limits,
    ) -> None:
        told = f"{server.url} {base.name} {base.root}"
        self.info = EngineInfo(
            server.url,
            name,
            sha256(told.encode()).hexdigest(),
            "server",
            limits.max_tokens,
            (f"weights are those that {server.url} serves as {base.name}; they are not checked",),
        )
        self._server, self._base, self._models = server, base, models
        self._limits = limits
        self._pool = ThreadPoolExecutor(AT_ONCE, "http")
        self._end = weakref.finalize(self, _end, self._pool, server)

    def size(self, tree: Tree) -> int:
        """Tokens of all paths, shared ones as often as they are sent."""
        return sum(len(tree.prefix) + len(branch.ids) for branch in tree.branches)

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """The first step sends prompts; each other takes in one answer, and sends what waits.

        Raises:
            ModelError: the engine is closed, or the server cannot be reached.
        """
        works = [self._work(tree) for tree in trees]
        waiting = dict(enumerate(works))
        group = _Group(self._pool, self._server)
        try:
            self._check_open()
            for model, wanted, prompts in self._calls(works):
                group.ask(model, wanted, prompts)
            yield _ready(waiting)
            while waiting:
                if all(work.left for work in waiting.values()):
                    group.take_one()
                yield _ready(waiting)
        finally:
            group.give_up()

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order; looks ahead over a bounded number of trees.

        Raises:
            ModelError: the engine is closed, or the server cannot be reached.
        """
        return in_order(self, trees)

    def load(self, adapter: str) -> None:
        """Find an adapter among what the server has.

        Raises:
            ModelError: it does not have it.
        """
        self._served_as(adapter)

    def unload(self, adapter: str) -> None:
        """Nothing to give back: which adapters the server holds is for whoever runs it."""

    def close(self) -> None:
        """Give up what is under way; safe to call twice."""
        self._end()

    def _check_open(self) -> None:
        if not self._end.alive:
            raise ModelError(_CLOSED)

    def _work(self, tree: Tree) -> Work:
        failure = tree_failure(tree, self._limits)
        if failure is None and tree.adapter is not None:
            try:
                self._served_as(tree.adapter)
            except ModelError as error:
                failure = Failure("bad_adapter", f"request {tree.tree_id}: {error}")
        work = Work(tree, failure)
        if failure is None:
            for number, branch in enumerate(tree.branches):
                if bad := branch_failure(tree, branch, self._limits):
                    work.fail(number, bad)
        return work

    def _served_as(self, adapter: str) -> str:
        """The name under which the server has an adapter: by its folder, else by its name."""
        place = Path(adapter).resolve()
        of_base = [m for m in self._models if m.parent in (self._base.name, self._base.root)]
        for model in of_base:
            if model.root and Path(model.root).resolve() == place:
                return model.name
        for model in of_base:
            if model.name == place.name:
                return model.name
        has = ", ".join(sorted(model.name for model in of_base)) or "none"
        raise ModelError(
            f"{self._server.url} has no adapter {place.name} (it has {has}); start it with "
            f"--enable-lora --lora-modules {place.name}={adapter}"
        )

    def _calls(
        self, works: Sequence[Work]
    ) -> Iterator[tuple[str, tuple[int, ...], list["_Prompt"]]]:
        """Prompts in calls of the same adapter and wanted ids; those that share most together."""
        by_kind: dict[tuple[str, tuple[int, ...]], list[_Prompt]] = {}
        for work in works:
            if work.failure:
                continue
            adapter = work.tree.adapter
            model = self._base.name if adapter is None else self._served_as(adapter)
            for place, ids in work.prompts():
                by_kind.setdefault((model, place.wanted), []).append(_Prompt(work, place, ids))
        for (model, wanted), prompts in by_kind.items():
            prompts.sort(key=lambda prompt: tuple(prompt.work.tree.prefix))
            left = iter(prompts)
            while together := list(islice(left, _TOGETHER)):
                yield model, wanted, together


class _Group:
    """The calls of one group of trees, and what comes back of them.

    No more than `AT_ONCE` of them are with the pool at once, so that the calls of another group,
    such as a lone request's, stand behind these and not behind all of a long run's.
    """

    def __init__(self, pool: ThreadPoolExecutor, server: Completions) -> None:
        self._pool, self._server = pool, server
        self._calls: dict[Future[list[PromptAnswer]], tuple[str, list[_Prompt]]] = {}
        self._later: deque[tuple[str, Sequence[int], list[_Prompt]]] = deque()
        self._ended: queue.SimpleQueue[Future[list[PromptAnswer]]] = queue.SimpleQueue()
        self._given_up = threading.Event()

    def ask(self, model: str, wanted: Sequence[int], prompts: list["_Prompt"]) -> None:
        self._later.append((model, wanted, prompts))
        self._send()

    def _send(self) -> None:
        while self._later and len(self._calls) < AT_ONCE:
            model, wanted, prompts = self._later.popleft()
            asked = Call(model, [prompt.ids for prompt in prompts], wanted)
            try:
                call = self._pool.submit(self._server.ask, asked, self._given_up.is_set)
            except RuntimeError:  # the pool's word for it
                raise ModelError(_CLOSED) from None
            self._calls[call] = model, prompts
            call.add_done_callback(self._ended.put)

    def take_one(self) -> None:
        """Wait a moment for an answer and lay it on the works that it belongs to.

        Only a moment: other groups have their turn meanwhile, whose answers may be there.
        """
        try:
            call = self._ended.get(timeout=_MOMENT)
        except queue.Empty:
            return
        model, prompts = self._calls.pop(call)
        self._send()
        try:
            answers = call.result()
        except CancelledError:
            raise ModelError(_CLOSED) from None
        except NotAnswered as error:
            if len(prompts) == 1:
                prompts[0].work.refuse(prompts[0].place, str(error), by=self._server.url)
                return
            for prompt in prompts:  # one of them may be the reason
                self.ask(model, prompt.place.wanted, [prompt])
            return
        for prompt, said in zip(prompts, answers, strict=True):
            prompt.work.put(prompt.place, said.logprobs, said.greedy)

    def give_up(self) -> None:
        self._given_up.set()
        self._later.clear()
        for call in list(self._calls):
            call.cancel()


def _end(pool: ThreadPoolExecutor, server: Completions) -> None:
    server.close()
    pool.shutdown(wait=False, cancel_futures=True)


def _ready(waiting: dict[int, Work]) -> list[tuple[int, TreeScore]]:
    places = [place for place, work in waiting.items() if not work.left]
    return [(place, waiting.pop(place).result()) for place in places]


def _base(url: str, models: Sequence[ServedModel], folder: Path, name: str | None) -> ServedModel:
    """The served model that stands for the one in ``folder``."""
    bases = [model for model in models if model.parent is None]
    if len(bases) == 1:
        return bases[0]
    for model in bases:
        if model.name in (name, str(folder)) or model.root == str(folder):
            return model
    has = ", ".join(sorted(model.name for model in bases)) or "none"
    raise ModelError(f"{url}: has several models and none is {name or folder} (it has {has})")


def _check_answers(server: Completions, model: str, vocab: int) -> None:
    """Refuse a server that returns other tokens than those that are asked for."""
    # Four ids that nothing makes likely: the likeliest tokens would not be these.
    wanted = [vocab - 1, vocab // 2, vocab // 3, vocab // 5]
    try:
        (said,) = server.ask(Call(model, [[0, vocab // 2]], wanted))
    except NotAnswered as error:
        raise ModelError(
            f"{server.url}: cannot score answers ({error}); it has to return the log-probs of "
            "logprob_token_ids, as vLLM 0.28 and later does"
        ) from None
    if sum(map(math.exp, said.logprobs)) > 1.001:
        raise ModelError(f"{server.url}: its log-probs are no log-probs of one distribution")
