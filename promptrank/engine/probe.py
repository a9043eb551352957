"""The self-test at load: packed scores against plain ones, on the very model in hand."""

import random
from collections.abc import Iterable

from promptrank.engine.contract import Branch, EngineInfo, Failure, Slot, Tree, TreeScore
from promptrank.engine.cutting import ForwardBudget
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.packed_engine import PackedEngine
from promptrank.engine.tree_checks import Limits

# Between two ways to compute one log-prob. A repeat in fp32 moves by less than 1e-5.
_TOLERANCE = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.3}
_PATH = 96  # tokens of the longest path tried
_SHORTEST = 8


def misfit(model: Adapters, info: EngineInfo, limits: Limits, longest: int | None) -> str | None:
    """Why packed scores of this model cannot be trusted, else None.

    Two trees go through every way a tree can be cut: together, in small pieces, and with kept
    keys and values. Paths are no longer than ``longest``.
    """
    path = min(_PATH, limits.max_tokens, longest if longest is not None else _PATH)
    if path < _SHORTEST:
        return f"its longest path is {path} tokens"
    trees = _trees(path, limits.vocab)
    plain = PackedEngine(model, info, limits, ForwardBudget(2048, 512), longest=0)
    want = _flat(plain.score(trees))
    for budget in (ForwardBudget(2048, 512), ForwardBudget(path // 3, 4)):
        try:
            engine = PackedEngine(model, info, limits, budget, longest=None)
            got = _flat(engine.score(trees))
        except (NotImplementedError, RuntimeError, TypeError, ValueError, LookupError) as error:
            return f"its layers do not take our attention ({type(error).__name__}: {error})"
        if len(got) != len(want) or not want:
            return "some scores are not numbers"
        apart = max(abs(a - b) for a, b in zip(got, want, strict=True))
        if not apart <= _TOLERANCE[info.dtype]:
            return f"packed scores differ from plain ones by {apart:.2g}"
    return None


def _trees(path: int, vocab: int) -> list[Tree]:
    draw = random.Random(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(draw.randrange(vocab) for _ in range(count))

    # Lengths of one path: shared, prefix, branch, slot, and an answer of two tokens.
    quarter = (path - 3) // 4
    shared = ids(2 * quarter)
    first, second, third = draw.sample(range(vocab), 3)
    answers = ((first,), (second, first), (second, third))
    trees = []
    for number in range(2):
        slots = (Slot(ids(1), answers), Slot((), answers))
        branches = (Branch(ids(quarter), slots), Branch(ids(1), slots), Branch((), slots))
        trees.append(Tree(f"self-test {number}", shared + ids(quarter), branches, len(shared)))
    return trees


def _flat(scores: Iterable[TreeScore]) -> list[float]:
    """All log-probs in order; failures leave theirs out."""
    return [
        number
        for tree in scores
        if not isinstance(tree, Failure)
        for branch in tree
        if not isinstance(branch, Failure)
        for slot in branch
        for number in slot.logprobs
    ]
