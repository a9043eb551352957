"""The engine itself: trees in, prompts to the process, scores out as its messages bring them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from promptrank.engine.contract import EngineInfo, Steps, Tree, TreeScore, Window
from promptrank.engine.tree_checks import Limits, branch_failure, tree_failure
from promptrank.engine.vllm_engine.adapter_files import ReadAdapters
from promptrank.engine.vllm_engine.conversation import Conversation, bad_adapter
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.engine.vllm_engine.tree_prompts import Work
from promptrank.engine.windows import in_order
from promptrank.errors import ModelError


class VllmEngine:
    """See ``open_vllm``."""

    window = Window(64, 200_000)  # ordered among themselves
    groups = 2  # the process has the next one before the last is answered

    def __init__(
        self,
        settings: Launch,
        info: EngineInfo,
        limits: Limits,
        restarts: Restarts | None = None,
        seconds: float | None = None,
    ) -> None:
        self._limits = limits
        self._adapters = ReadAdapters(Path(settings.model))
        self._said = Conversation(settings, self._adapters, restarts, seconds)
        self.info = replace(info, device=self._said.device)

    def size(self, tree: Tree) -> int:
        """Tokens of all paths, shared ones as often as they are sent."""
        return sum(len(tree.prefix) + len(branch.ids) for branch in tree.branches)

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """The first step sends the prompts; each other takes in one message, if it needs one.

        A message may bring scores of other groups, which these have at their next step. The process
        works on small groups first. An adapter that is not loaded yet is loaded in the first step;
        where it has a larger rank than there is room for, all that is under way is waited for. With
        restarts a step may take as long as a start of the process.

        Raises:
            ModelError: the engine is closed, or its process has died and none is in its place.
        """
        works = [self._work(tree) for tree in trees]
        waiting = dict(enumerate(works))
        try:
            self._said.ask(works)
            yield _ready(waiting)
            while waiting:
                if lost := next((work.lost for work in waiting.values() if work.lost), None):
                    raise ModelError(lost)
                if all(work.left for work in waiting.values()):
                    self._said.receive()
                yield _ready(waiting)
        finally:
            self._said.drop(waiting.values())

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
        self._said.number(self._adapters.of(adapter))

    def unload(self, adapter: str) -> None:
        """Have the process give back an adapter's weights, unless another folder has the same.

        Nothing happens while prompts of it are under way.

        Raises:
            ModelError: the engine is closed, or its process has died.
        """
        self._said.unload(adapter)

    def lengthen(self, max_tokens: int) -> None:
        """Take paths of up to ``max_tokens`` from now on: starts the process anew.

        Raises:
            ModelError: the engine is closed, or vLLM cannot be opened for so many.
        """
        self._said.restart(replace(self._said.settings, max_tokens=max_tokens))
        self._limits = replace(self._limits, max_tokens=max_tokens)
        self.info = replace(self.info, max_tokens=max_tokens)

    def close(self) -> None:
        """End the process; memory goes back with it."""
        self._said.close()

    @property
    def ailing(self) -> bool:
        """Whether `mend` has anything to do; from any thread."""
        return self._said.ailing

    def mend(self) -> None:
        """Start a process that has died while nobody asked, or that could not be started before.

        Raises:
            ModelError: it cannot be started now either.
        """
        self._said.mend()

    @property
    def process_id(self) -> int | None:
        """Of the process that runs vLLM, while there is one."""
        return self._said.process_id

    @property
    def restarted(self) -> int:
        """Processes that were started in the place of dead ones."""
        return self._said.restarted

    @property
    def caches(self) -> Mapping[str, tuple[int, int]]:
        """Tokens of prompts that its prefix cache had, and had not."""
        said = self._said
        return {"prefix_tokens": (said.cached_tokens, said.read_tokens - said.cached_tokens)}

    def _work(self, tree: Tree) -> Work:
        work = Work(tree, tree_failure(tree, self._limits))
        if work.failure is None and tree.adapter is not None:
            try:
                self._adapters.of(tree.adapter)
            except ModelError as error:
                work.failure = bad_adapter(work, error)
        if work.failure is None:
            for number, branch in enumerate(tree.branches):
                if bad := branch_failure(tree, branch, self._limits):
                    work.fail(number, bad)
        return work


def _ready(waiting: dict[int, Work]) -> list[tuple[int, TreeScore]]:
    """Take out of ``waiting`` the trees of which nothing is left to come."""
    places = [place for place, work in waiting.items() if not work.left]
    return [(place, waiting.pop(place).result()) for place in places]
