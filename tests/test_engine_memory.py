"""Memory that runs out: forwards are halved and stay so; what does not fit alone fails alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from promptrank.engine import forward, layout, packed_engine
from promptrank.engine import plain as plain_prompts
from promptrank.engine.contract import Branch, Failure, Shrinking, Slot, Tree, TreeScore
from promptrank.engine.devices import is_out_of_memory
from promptrank.engine.packed import PackedEngine, open_packed
from promptrank.errors import ModelError
from support.engines import llama, saved

SLOTS = (Slot((7,), ((5,), (6, 8), (6, 9))), Slot((), ((1,), (2,))))
LARGE = 96
"""Stands in the prompts of a tree that fits into no memory."""


def tree(number: int, *more: int) -> Tree:
    shared = tuple(range(3, 33))
    prefix = (*shared, *((5 * number + n) % 90 for n in range(40 + 9 * number)), *more)
    branches = tuple(Branch(tuple((number + n) % 90 for n in range(8 + k)), SLOTS) for k in (0, 5))
    return Tree(f"r{number}", prefix, branches, len(shared))


TREES = [tree(number) for number in range(7)]


@pytest.fixture(scope="module")
def llama_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(llama(), tmp_path_factory.mktemp("memory") / "llama")


def flat(score: TreeScore) -> list[float]:
    assert not isinstance(score, Failure), score
    logprobs: list[float] = []
    for branch in score:
        assert not isinstance(branch, Failure), branch
        logprobs += [number for slot in branch for number in slot.logprobs]
    return logprobs


def full(ids: torch.Tensor, most: int) -> bool:
    return ids.numel() > most or bool((ids == LARGE).any())


def limit(monkeypatch: pytest.MonkeyPatch, most: int, error: Callable[[], Exception]) -> list[int]:
    """Have forwards of more than so many tokens run out of memory; the sizes of all of them."""
    sizes: list[int] = []
    run, plain_logits = forward.run, plain_prompts.plain_logits

    def limited(model: Any, laid_out: Any) -> torch.Tensor:
        sizes.append(laid_out.ids.numel())
        if full(laid_out.ids, most):
            raise error()
        return run(model, laid_out)

    def limited_plain(model: Any, one: Tree, branches: Any, tokens: int) -> Any:
        sizes.append(tokens)
        if full(torch.tensor(one.prefix), 10_000) or tokens > most:
            raise error()
        return plain_logits(model, one, branches, tokens)

    monkeypatch.setattr(packed_engine, "run", limited)
    monkeypatch.setattr(packed_engine, "plain_logits", limited_plain)
    return sizes


ERRORS: dict[str, Callable[[], Exception]] = {
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": lambda: RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"),
    "python": MemoryError,
}


@pytest.mark.long
@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("kind", list(ERRORS))
def test_forwards_are_halved_and_stay_so(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, plain: bool
) -> None:
    want = [flat(score) for score in open_packed(llama_path, plain=plain).score(TREES)]
    engine = open_packed(llama_path, plain=plain)
    assert isinstance(engine, Shrinking) and engine.forward_tokens == 1152
    sizes = limit(monkeypatch, 150, ERRORS[kind])
    for got, wanted in zip(engine.score(TREES), want, strict=True):
        assert flat(got) == pytest.approx(wanted, abs=1e-4)
    shrunk = engine.shrunk
    assert shrunk > 0 and 64 <= engine.forward_tokens <= 150
    # Once it is known what fits, nothing is tried that does not.
    sizes.clear()
    for got, wanted in zip(engine.score(TREES), want, strict=True):
        assert flat(got) == pytest.approx(wanted, abs=1e-4)
    assert engine.shrunk == shrunk and max(sizes) <= 150


@pytest.mark.long
@pytest.mark.parametrize("plain", [False, True])
def test_a_tree_that_does_not_fit_alone_fails_alone(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    engine = open_packed(llama_path, plain=plain)
    want = [flat(score) for score in engine.score(TREES)]
    engine.forget()
    limit(monkeypatch, 10_000, ERRORS["cpu"])
    mixed = [*TREES[:3], tree(11, LARGE), *TREES[3:], tree(12, LARGE)]
    got = list(engine.score(mixed))
    for place in (3, 8):
        bad = got[place]
        assert isinstance(bad, Failure) and bad.reason == "out_of_memory"
        assert mixed[place].tree_id in bad.message and "DefaultCPUAllocator" in bad.message
    fine = [score for place, score in enumerate(got) if place not in (3, 8)]
    for one, wanted in zip(fine, want, strict=True):
        assert flat(one) == pytest.approx(wanted, abs=1e-4)
    # They did not fit however small: that is no reason to do others in small pieces for ever.
    assert engine.forward_tokens == 1152


@pytest.mark.long
def test_what_was_half_kept_when_memory_ran_out_is_not_used(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys and values of an instruction, of which the first layers are there."""
    engine = open_packed(llama_path)
    want = [flat(score) for score in open_packed(llama_path).score(TREES)]
    run, lay_out = forward.run, layout.lay_out
    failed: list[int] = []

    def noted(batch: Any, *more: Any) -> Any:
        kept = [part.keep for part in batch if part.keep is not None]
        made = lay_out(batch, *more)
        if kept and not failed:
            failed.append(1)

            def once(model: Any, laid_out: Any) -> torch.Tensor:
                run(model, laid_out)
                for keep in kept:
                    del keep.layers[max(keep.layers)]
                monkeypatch.setattr(packed_engine, "run", run)
                raise MemoryError

            monkeypatch.setattr(packed_engine, "run", once)
        return made

    monkeypatch.setattr(packed_engine, "lay_out", noted)
    for got, wanted in zip(engine.score(TREES), want, strict=True):
        assert flat(got) == pytest.approx(wanted, abs=1e-4)
    assert failed


def test_the_self_test_does_not_hide_it(llama_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 10, ERRORS["cuda"])
    with pytest.raises(ModelError, match="out of memory"):
        open_packed(llama_path)


def test_what_says_that_memory_is_full() -> None:
    with pytest.raises(RuntimeError) as wanted:
        torch.empty(1 << 55)
    assert is_out_of_memory(wanted.value)
    assert all(is_out_of_memory(make()) for make in ERRORS.values())
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
    assert not is_out_of_memory(ModelError("closed"))


def test_a_closed_engine_is_no_lack_of_memory(llama_path: Path) -> None:
    engine: PackedEngine = open_packed(llama_path)
    steps = engine.begin(TREES)
    next(steps)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        list(steps)
