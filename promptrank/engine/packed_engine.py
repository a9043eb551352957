"""The embedded engine: a request's prefix once, its candidates side by side, requests together."""

from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from promptrank.engine.contract import (
    Branch,
    EngineInfo,
    Failure,
    Steps,
    Tree,
    TreeScore,
    Window,
)
from promptrank.engine.cutting import ForwardBudget, KeptKeys, Part, cut, pack, tries
from promptrank.engine.devices import is_out_of_memory, within_memory
from promptrank.engine.forward import run
from promptrank.engine.kept_instructions import KeptInstructions, instruction
from promptrank.engine.layout import lay_out
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.logits import SlotRows, score_slots
from promptrank.engine.plain import plain_logits
from promptrank.engine.products import Shape
from promptrank.engine.sliding import Windows, layer_windows
from promptrank.engine.tree_checks import Limits, branch_failure, tree_failure
from promptrank.engine.tree_work import TreeWork
from promptrank.engine.trie import Trie
from promptrank.engine.windows import in_order
from promptrank.errors import ModelError

_WINDOW_TREES = 64  # in a group at most, to go by adapter and share instructions
_WINDOW_FORWARDS = 16  # and at most so many forwards' tokens
_LEAST = 64  # tokens of a forward: what does not fit by so few at a time does not fit


class PackedEngine:
    """See ``open_packed``."""

    groups = 1  # a forward takes every core by itself
    ways: Mapping[Shape, str]
    """Shape of products -> the way they go; see `products.Shape`."""
    windows: Windows
    """By layer, what packed attention goes by; the model's own."""
    shrinks = False
    """Whether it goes on with smaller forwards where memory runs out; else that is an error."""

    def __init__(
        self,
        model: Adapters,
        info: EngineInfo,
        limits: Limits,
        budget: ForwardBudget,
        longest: int | None,
        flex: bool = False,
    ) -> None:
        """An engine over a model.

        Args:
            longest: the longest path that may run packed: None for all, 0 for none.
            flex: attend by one FlexAttention in place of bands.
        """
        self.info = info
        self.ways = {}
        self._adapters: Adapters | None = model
        self._limits, self._budget, self._longest, self._flex = limits, budget, longest, flex
        self.windows = layer_windows(model.base.config) or ()
        # One prompt at a time gains nothing from trees begun together.
        step = 0 if longest == 0 else budget.tokens
        self.window = Window(_WINDOW_TREES, _WINDOW_FORWARDS * budget.tokens, step)
        self._kept = KeptInstructions()
        self._in_hand = 0  # tokens of the last forward
        self.shrunk = 0

    def size(self, tree: Tree) -> int:
        """Tokens of the prefix and of the branches; those of slots are few."""
        return len(tree.prefix) + sum(len(branch.ids) for branch in tree.branches)

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """One forward a step, or one branch of those that run one prompt at a time.

        Where memory runs out, forwards are halved and stay so, and what has not come is computed
        anew; a tree that does not fit by itself fails alone, and forwards are as they were before.

        Raises:
            ModelError: the engine is closed, or out of memory and not one that shrinks.
        """
        works = [self._start(tree) for tree in trees]
        waiting = dict(enumerate(works))
        groups, whole = deque([works]), self._budget
        while groups:
            why = yield from self._tried(groups[0], waiting)
            unfinished = [work for work in groups[0] if work.left]
            if why is not None:
                for work in unfinished:
                    work.again()
                if self._shrink():
                    continue
            groups.popleft()
            if len(unfinished) > 1:
                groups.extendleft([work] for work in reversed(unfinished))
            elif unfinished:
                self._budget = whole  # which others may have room for
                unfinished[0].give_up(self._too_large(unfinished[0].tree, why or ""))
        if waiting:  # what had nothing to compute, in a group without a forward
            yield _ready(waiting)

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order; looks ahead over a bounded number of trees.

        Raises:
            ModelError: the engine is closed.
        """
        return in_order(self, trees)

    def load(self, adapter: str) -> None:
        """Load an adapter folder now.

        Raises:
            ModelError: it cannot be used.
        """
        self._model().load(adapter)

    def unload(self, adapter: str) -> None:
        """Give back an adapter's weights, and the instructions that were computed with it.

        Raises:
            ModelError: the engine is closed.
        """
        self._model().unload(adapter)
        self._kept.drop(adapter)

    def forget(self) -> None:
        """Drop the instructions kept from earlier trees; the next ones compute them anew."""
        self._kept.clear()

    def close(self) -> None:
        """Let the weights go."""
        self._adapters = None
        self.forget()

    @property
    def forward_tokens(self) -> int:
        """New tokens of one forward at most; fewer than at first where memory has run out."""
        return self._budget.tokens

    def _tried(
        self, works: Sequence[TreeWork], waiting: dict[int, TreeWork]
    ) -> Generator[list[tuple[int, TreeScore]], None, str | None]:
        """Score works, step by step; returns why memory has run out, None where it has not."""
        try:
            for _ in self._forwards(works):
                yield _ready(waiting)
        except Exception as error:
            self.forget()  # keys and values that were being kept may be half there
            if not (self.shrinks and is_out_of_memory(error)):
                raise
            why = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
        else:
            return None
        # Here the error is gone, and with it what its frames held.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return why

    def _shrink(self) -> bool:
        """Halve forwards, as far as that makes them smaller than the last one; whether it did."""
        tokens = max(_LEAST, min(self._budget.tokens, self._in_hand) // 2)
        if tokens >= self._budget.tokens:
            return False
        self._budget = ForwardBudget(tokens, max(1, self._budget.rows // 2))
        self.shrunk += 1
        return True

    def _too_large(self, tree: Tree, why: str) -> Failure:
        return Failure(
            "out_of_memory",
            f"request {tree.tree_id}: does not fit into memory by itself, {self._budget.tokens} "
            f"tokens at a time ({why}); lower budget.tokens, or give it more memory",
        )

    def _start(self, tree: Tree) -> TreeWork:
        failure = tree_failure(tree, self._limits)
        work = TreeWork(tree, failure or self._adapter_failure(tree), [None] * len(tree.branches))
        if work.failure:
            return work
        for number, branch in enumerate(tree.branches):
            if bad := branch_failure(tree, branch, self._limits):
                work.scores[number] = bad
                continue
            work.tries[number] = tries(branch)
            work.slots[number] = [None] * len(branch.slots)
            work.left += len(branch.slots)
        return work

    def _adapter_failure(self, tree: Tree) -> Failure | None:
        if tree.adapter is not None:
            try:
                self._model().load(tree.adapter)
            except ModelError as error:
                return Failure("bad_adapter", f"request {tree.tree_id}: {error}")
        return None

    def _model(self) -> Adapters:
        if self._adapters is None:
            raise ModelError("the engine is closed; open another")
        return self._adapters

    def _within_memory(self, model: Any) -> AbstractContextManager[None]:
        return within_memory(model.device, self.info.model, self.info.dtype)

    def _forwards(self, works: Sequence[TreeWork]) -> Iterator[None]:
        """Score all works, one forward at a time, those of one adapter after another."""
        for adapter in dict.fromkeys(work.tree.adapter for work in works):
            mine = {n: w for n, w in enumerate(works) if w.left and w.tree.adapter == adapter}
            parts = self._parts(adapter, mine)
            for batch in pack(parts, self._budget):
                self._forward(adapter, batch, works)
                yield
            for work in mine.values():
                yield from self._plain(adapter, work)

    def _parts(self, adapter: str | None, works: dict[int, TreeWork]) -> Iterator[Part]:
        heads = {number: instruction(work.tree) for number, work in works.items()}
        often = Counter(heads.values())
        started: dict[tuple[int, ...], KeptKeys] = {}
        for number, work in works.items():
            branches = [
                (n, work.tree.branches[n])
                for n in work.tries
                if work.slots[n] and self._packs(work.tree, work.tree.branches[n])
            ]
            if not branches:
                continue
            head = heads[number]
            key = (adapter, head)
            past = started.get(head) or self._kept.get(key)
            if head:
                self._kept.count(past is not None)
            # A tree that comes alone, as in a server, may be the second of many.
            again = often[head] > 1 or self._kept.was_met(key)
            if past is None and again and 0 < len(head) <= self._budget.tokens:
                past = started[head] = self._kept.keep(key)
                yield Part(number, None, head, past, ())
            elif past is None and head and not again:
                self._kept.meet(key)
            yield from cut(number, work.tree.prefix, branches, past, self._budget)

    @property
    def caches(self) -> Mapping[str, tuple[int, int]]:
        """Trees whose instruction's keys and values were kept, and were not."""
        return {"instructions": (self._kept.hits, self._kept.misses)}

    def _packs(self, tree: Tree, branch: Branch) -> bool:
        if self._longest is None:
            return True
        tail = max(len(slot.ids) + max(map(len, slot.paths)) for slot in branch.slots)
        return len(tree.prefix) + len(branch.ids) + tail <= self._longest

    @torch.inference_mode()
    def _forward(
        self, adapter: str | None, batch: Sequence[Part], works: Sequence[TreeWork]
    ) -> None:
        self._in_hand = sum(part.tokens for part in batch)
        with self._model().using(adapter) as model, self._within_memory(model):
            like = model.get_input_embeddings().weight
            forward = lay_out(batch, like, self.windows, self._flex)
            logits = run(model, forward)
        places, slots = [], []
        for part, rows in zip(batch, forward.reads, strict=True):
            reads = iter(rows)
            for block in part.blocks:
                # The reads of a slot stand together, its nodes in order.
                for read in block.reads:
                    row = next(reads)
                    if read.node == 0:
                        trie = works[part.tree].tries[read.branch][read.slot]
                        places.append((part.tree, read.branch, read.slot))
                        slots.append(SlotRows(trie, []))
                    slots[-1].rows.append(row)
        for (number, branch, slot), score in zip(places, score_slots(logits, slots), strict=True):
            works[number].put(branch, slot, score)

    def _plain(self, adapter: str | None, work: TreeWork) -> Iterator[None]:
        """Score what may not run packed, one branch after another."""
        for number, branch_tries in work.tries.items():
            branch = work.tree.branches[number]
            if branch.slots and not self._packs(work.tree, branch):
                self._plain_branch(adapter, work, number, branch_tries)
                yield

    @torch.inference_mode()
    def _plain_branch(
        self, adapter: str | None, work: TreeWork, number: int, branch_tries: tuple[Trie, ...]
    ) -> None:
        self._in_hand = self._budget.tokens
        with self._model().using(adapter) as model, self._within_memory(model):
            entry = (number, work.tree.branches[number], branch_tries)
            rows, logits = plain_logits(model, work.tree, [entry], self._budget.tokens)
        slots = [
            SlotRows(trie, [rows[number, slot, node] for node in range(len(trie.nodes))])
            for slot, trie in enumerate(branch_tries)
        ]
        for slot, score in enumerate(score_slots(logits, slots)):
            work.put(number, slot, score)


def _ready(waiting: dict[int, TreeWork]) -> list[tuple[int, TreeScore]]:
    """Take out of ``waiting`` the trees of which nothing is left to come."""
    places = [place for place, work in waiting.items() if not work.left]
    return [(place, waiting.pop(place).result()) for place in places]
