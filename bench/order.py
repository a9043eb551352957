"""What the order of (adapter, prefix) gives vLLM's prefix cache, with the model of the movies.

    python bench/order.py [--members N] [--each N] [--prefix N] [--candidates N] [--cache MIB]

Requests come as a log has them: each member again after all the others. They are asked as they come
and in the order of their prefixes within a window of 256, each in a process of its own. The share
of cached tokens is vLLM's own count; what is expected is counted from the trees.
"""

import argparse
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

from promptrank.assets import resolve_model
from promptrank.engine.contract import Branch, Slot, Tree, TreeScore
from promptrank.engine.vllm_engine.open import open_vllm
from promptrank.ranking.loop import rankings
from promptrank.ranking.method import AdapterOf, Asking, Method
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.runs.shard_ranking import ORDERED
from promptrank.runs.throughput import AskedTokens, TokenCounts, prefix_cache
from promptrank.runtime.opened import Opened


class Listed:
    """A method whose requests are trees already."""

    name, answers, fingerprint = "listed", True, ""

    def __init__(self, trees: Sequence[Tree]) -> None:
        self.trees = trees

    def start(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Asking]:
        """One round for each tree."""
        return map(self._ask, self.trees)

    def _ask(self, tree: Tree) -> Asking:
        yield [tree]
        return cast(Ranking, SimpleNamespace(request_id=tree.tree_id))


def trees_of(members: int, each: int, prefix: int, candidates: int) -> list[Tree]:
    """Members with a prefix of their own behind a common instruction, in turns."""
    draw = random.Random(1)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(1000, 40_000) for _ in range(count))

    instruction = ids(32)
    prefixes = [(*instruction, *ids(prefix - 32)) for _ in range(members)]
    slot = Slot(ids(4), ((314,), (315,)))
    return [
        Tree(
            f"{number}-{turn}",
            prefixes[number],
            tuple(Branch(ids(12), (slot,)) for _ in range(candidates)),
            shared=32,
        )
        for turn in range(each)
        for number in range(members)
    ]


def asked(trees: Sequence[Tree], ordered: int, cache: int, threads: int | None) -> str:
    """How it went, in words."""
    engine = open_vllm(
        resolve_model("smollm2-135m-instruct"),
        max_tokens=1024,
        threads=threads,
        cache_bytes=cache << 20,
    )
    opened = Opened[Any](engine)
    tokens = AskedTokens()

    def watch(works: Sequence[Any], results: Sequence[TreeScore]) -> None:
        tokens(works, cast(Any, results))

    try:
        start = time.perf_counter()
        method = cast(Method, Listed(trees))
        for _ in rankings(method, opened, (), None, cast(Any, watch), ordered):
            pass
        seconds = time.perf_counter() - start
        read, cached = prefix_cache(opened)
    finally:
        opened.close()
    whole = TokenCounts()
    for tree in trees:
        whole = whole.plus(tokens.of(tree.tree_id))
    rate = sum(len(tree.branches) for tree in trees) / seconds
    return (
        f"expected={whole.shared / whole.tokens:.3f} cached={cached / read:.3f} "
        f"candidates_a_second={rate:.1f} tokens={whole.tokens}"
    )


def main() -> None:
    """Both orders, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--members", type=int, default=48)
    parser.add_argument("--each", type=int, default=4, help="requests of a member")
    parser.add_argument("--prefix", type=int, default=256, help="tokens")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--cache", type=int, default=256, help="MiB of keys and values")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    trees = trees_of(given.members, given.each, given.prefix, given.candidates)
    for words, ordered in (("as they come", 0), (f"ordered within {ORDERED}", ORDERED)):
        print(f"{words}: {asked(trees, ordered, given.cache, given.threads)}")


if __name__ == "__main__":
    main()
