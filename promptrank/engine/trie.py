"""Answer paths as a trie: which places need logits, and what they say together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from promptrank.engine.contract import SlotScore

Path = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trie:
    """The places after which a path goes on.

    Attributes:
        nodes: token paths from the slot to each place, depth first; the first is ``()``.
        parents: index of each node's parent; -1 for the first.
        steps: for every path, its (node, next token) pairs.
    """

    nodes: tuple[Path, ...]
    parents: tuple[int, ...]
    steps: tuple[tuple[tuple[int, int], ...], ...]


def build_trie(paths: Sequence[Path]) -> Trie:
    """The trie of paths of which none is empty and none the beginning of another."""
    after: dict[Path, list[Path]] = {(): []}
    for path in paths:
        for end in range(1, len(path)):
            if path[:end] not in after:
                after[path[: end - 1]].append(path[:end])
                after[path[:end]] = []
    index: dict[Path, int] = {}
    waiting: list[Path] = [()]
    while waiting:
        node = waiting.pop()
        index[node] = len(index)
        waiting += reversed(after[node])
    nodes = tuple(index)
    parents = tuple(index[node[:-1]] if node else -1 for node in nodes)
    steps = tuple(tuple((index[path[:k]], path[k]) for k in range(len(path))) for path in paths)
    return Trie(nodes, parents, steps)


def slot_score(
    trie: Trie, logprobs: Sequence[Sequence[float]], greedy: Sequence[int]
) -> SlotScore | None:
    """Join what the model says at each node.

    Args:
        trie: of the slot's paths.
        logprobs: per path, the log-prob of each of its tokens.
        greedy: per node, the id of the likeliest next token.

    Returns:
        The score, or None where a log-prob is not a number.
    """
    totals = tuple(math.fsum(path) for path in logprobs)
    if any(math.isnan(total) for total in totals):
        return None
    mass = min(1.0, math.fsum(math.exp(total) for total in totals))
    written = (i for i, path in enumerate(trie.steps) if all(greedy[n] == t for n, t in path))
    return SlotScore(totals, mass, next(written, None))
