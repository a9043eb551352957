"""A deterministic engine without a model, for tests and docs."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence

from promptrank.engine.contract import (
    Branch,
    BranchScore,
    EngineInfo,
    Slot,
    SlotScore,
    Steps,
    Tree,
    TreeScore,
    Window,
)
from promptrank.engine.tree_checks import Limits, branch_failure, tree_failure
from promptrank.engine.trie import build_trie, slot_score
from promptrank.engine.windows import in_order

_OTHER_MASS = 0.25  # of every place, for tokens that no path names


class FakeEngine:
    """Scores that depend on the ids (and the adapter) alone, in pure Python.

    At every place the tokens that continue a path share three quarters of the probability, split
    by a hash; so paths of one slot sum to less than one, as a model's do. Not a model: nearby ids
    give unrelated scores.
    """

    window = Window(1, 1)
    groups = 1

    def __init__(self, *, vocab: int = 50_000, max_tokens: int = 2048) -> None:
        self._limits = Limits(max_tokens=max_tokens, vocab=vocab)
        digest = hashlib.sha256(b"promptrank fake engine 1").hexdigest()
        self.info = EngineInfo("fake", "fake", digest, "float64", max_tokens)

    def size(self, tree: Tree) -> int:
        """Every tree fills a window of its own."""
        return 1

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """One tree a step."""
        for place, tree in enumerate(trees):
            yield [(place, self._tree(tree))]

    def score(self, trees: Iterable[Tree]) -> Iterator[TreeScore]:
        """One result per tree, in order, computed when asked for."""
        return in_order(self, trees)

    def load(self, adapter: str) -> None:
        """Any name will do."""

    def unload(self, adapter: str) -> None:
        """There is nothing to give back."""

    def close(self) -> None:
        """Nothing to give back."""

    def _tree(self, tree: Tree) -> TreeScore:
        if failure := tree_failure(tree, self._limits):
            return failure
        return tuple(self._branch(tree, branch) for branch in tree.branches)

    def _branch(self, tree: Tree, branch: Branch) -> BranchScore:
        if failure := branch_failure(tree, branch, self._limits):
            return failure
        return tuple(_slot(tree, branch, slot) for slot in branch.slots)


def _slot(tree: Tree, branch: Branch, slot: Slot) -> SlotScore:
    trie = build_trie(slot.paths)
    context = (*tree.prefix, *branch.ids, *slot.ids)
    nexts: list[list[int]] = [[] for _ in trie.nodes]
    for path in trie.steps:
        for node, token in path:
            if token not in nexts[node]:
                nexts[node].append(token)
    # Sorted, so that the order of the paths changes nothing.
    places = [
        _place(tree.adapter, (*context, *node), sorted(tokens))
        for node, tokens in zip(trie.nodes, nexts, strict=True)
    ]
    logprobs = [[math.log(places[node][token]) for node, token in path] for path in trie.steps]
    score = slot_score(trie, logprobs, [max(place, key=place.__getitem__) for place in places])
    assert score is not None, "a hash is a number"
    return score


def _place(adapter: str | None, ids: Sequence[int], tokens: Sequence[int]) -> dict[int, float]:
    """Probability per token after ``ids``; the key -1 stands for all tokens that no path names."""
    weights = {token: _weight(adapter, ids, token) for token in tokens}
    total = sum(weights.values()) / (1 - _OTHER_MASS)
    return {token: weight / total for token, weight in weights.items()} | {-1: _OTHER_MASS}


def _weight(adapter: str | None, ids: Sequence[int], token: int) -> float:
    text = f"{adapter}|{','.join(map(str, ids))}|{token}"
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    return 0.05 + number / 2**64
