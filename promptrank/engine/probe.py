"""The self-test at load: packed scores against plain ones, on the very model in hand."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from transformers import PreTrainedModel

from promptrank.engine.contract import Branch, EngineInfo, Failure, Slot, Tree, TreeScore
from promptrank.engine.cutting import ForwardBudget
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.packed_engine import PackedEngine
from promptrank.engine.sliding import layer_windows
from promptrank.engine.tree_checks import Limits
from promptrank.errors import ModelError

# Between two ways to compute one log-prob. A repeat in fp32 moves by less than 1e-5.
# In int8 a difference in the last bit of an input can round it to the next whole number.
_TOLERANCE = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.3, "int8": 0.5}
# Rounding is in proportion to a log-prob's size, and those of random tokens can be -60: there Gemma
# 3's, in fp32 and in two orders of the same sums, are 1e-4 apart.
_ROUNDED = 8.0
_FAULTS = (NotImplementedError, RuntimeError, TypeError, ValueError, LookupError)
_PATH = 96  # tokens of the longest path tried
_SHORTEST = 8
_WINDOWS = 8  # in the longest path tried, so that windows end in prefixes and in branches
_WHOLE = ForwardBudget(2048, 512)


def misfit(
    model: Adapters, info: EngineInfo, limits: Limits, longest: int | None, flex: bool = False
) -> str | None:
    """Why packed scores of this model cannot be trusted, else None.

    Two trees go through every way a tree can be cut: together, in small pieces, and with kept
    keys and values. Paths are no longer than ``longest``.

    Args:
        flex: by FlexAttention, whose compiler raises errors of every kind.
    """
    path = min(_PATH, limits.max_tokens, longest if longest is not None else _PATH)
    if path < _SHORTEST:
        return f"its longest path is {path} tokens"
    trees = _trees(path, limits.vocab)
    return _apart(model, info, limits, trees, _plain(model, info, limits, trees), flex)


def misfit_beyond(model: Adapters, info: EngineInfo, limits: Limits) -> str | None:
    """Why packed scores of paths beyond the model's sliding windows cannot be trusted, else None.

    As `misfit`; longer windows are made short for that long, since paths beyond them would take
    as long to load as to rank. Plain attention then goes by the short ones too, because it reads
    them where packed attention does, in the config. Where that does not hold, scores differ.
    """
    path = min(_PATH, limits.max_tokens)
    if path < _SHORTEST:
        return f"its longest path is {path} tokens"
    trees = _trees(path, limits.vocab)
    with _short_windows(model.base, path // _WINDOWS) as short:
        if not short:
            return "its windows are not those that its config sets for all layers"
        want = _plain(model, info, limits, trees)
        if reason := _apart(model, info, limits, trees, want):
            return reason
        # Windows that made no difference would not have been tested.
        engine = PackedEngine(model, info, limits, _WHOLE, longest=None)
        engine.windows = ()
        if _distance(_flat(engine.score(trees)), want) <= _TOLERANCE[info.dtype]:
            return "scores without windows are the same"
    return None


@contextmanager
def _short_windows(model: PreTrainedModel, window: int) -> Iterator[bool]:
    """Windows longer than this are of this length; whether all layers' are."""
    config = model.config.get_text_config()
    own = getattr(config, "sliding_window", None)
    if own is None:  # only layers by themselves have one
        yield False
        return
    try:
        config.sliding_window = min(own, window)
        yield {*(layer_windows(config) or ())} - {None} == {config.sliding_window}
    finally:
        config.sliding_window = own


def _plain(model: Adapters, info: EngineInfo, limits: Limits, trees: Sequence[Tree]) -> list[float]:
    return _flat(PackedEngine(model, info, limits, _WHOLE, longest=0).score(trees))


def _apart(
    model: Adapters,
    info: EngineInfo,
    limits: Limits,
    trees: Sequence[Tree],
    want: list[float],
    flex: bool = False,
) -> str | None:
    """What is wrong with packed scores that should be these, else None."""
    path = max(len(tree.prefix) + len(branch.ids) for tree in trees for branch in tree.branches)
    for budget in (_WHOLE, ForwardBudget(path // 3, 4)):
        try:
            engine = PackedEngine(model, info, limits, budget, longest=None, flex=flex)
            got = _flat(engine.score(trees))
        except ModelError:
            raise
        except Exception as error:
            if not (flex or isinstance(error, _FAULTS)):
                raise
            return f"its layers do not take our attention ({type(error).__name__}: {_first(error)})"
        if len(got) != len(want) or not want:
            return "some scores are not numbers"
        if not (apart := _distance(got, want)) <= _TOLERANCE[info.dtype]:
            return f"packed scores differ from plain ones by {apart:.2g}"
    return None


def _distance(got: Sequence[float], want: Sequence[float]) -> float:
    """The largest difference, of log-probs beyond -8 in proportion."""
    pairs = zip(got, want, strict=True)
    return max(abs(a - b) / max(1.0, abs(b) / _ROUNDED) for a, b in pairs)


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


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
