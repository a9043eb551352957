"""Tree attention as one FlexAttention: on a CPU, where it is slow, the same numbers as in bands.

A GPU runs the same mask through a compiled kernel, which nothing here can try.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import flex_attention as theirs
from torch.nn.attention.flex_attention import create_block_mask

from promptrank.engine import flex
from promptrank.engine.contract import Branch, Slot
from promptrank.engine.cutting import Block, KeptKeys, Part, flatten, tries
from promptrank.engine.flex import Spans, faulty_gradients, spans_of
from promptrank.engine.layout import lay_out
from promptrank.engine.packed import open_packed
from promptrank.engine.probe import _flat, _trees
from promptrank.engine.trie import build_trie
from promptrank.training import adapter_model
from support.engines import MODELS, VOCAB, llama, saved
from support.runs import apart, run
from support.toys import make_project
from test_engine_backward import dense_mask

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a CPU torch would compile the call around it for seconds, and warn that it is slow."""
    monkeypatch.setattr(theirs, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    yield


def seen(spans: Spans) -> torch.Tensor:
    """(rows, keys) what the two numbers of each key say."""
    rows = torch.arange(spans.rows)[:, None]
    return (spans.first <= rows) & (rows < spans.last)


def block(length: int, *slots: Slot) -> Block:
    branch = Branch(tuple(range(10, 10 + length)), slots)
    return flatten(0, branch.ids, list(zip(range(9), slots, tries(branch), strict=False)))


# Paths that leave the order of their first appearance: (5, 6) is after (7,) was begun.
SLOTS = (Slot((7,), ((5, 9), (7, 8), (5, 6, 3), (5, 6, 4))), Slot((3, 4), ((1,), (2,))))


def test_nodes_of_a_trie_come_depth_first() -> None:
    trie = build_trie(SLOTS[0].paths)
    assert trie.nodes == ((), (5,), (5, 6), (7,))
    assert trie.parents == (-1, 0, 1, 0)
    assert trie.steps == (
        ((0, 5), (1, 9)),
        ((0, 7), (3, 8)),
        ((0, 5), (1, 6), (2, 3)),
        ((0, 5), (1, 6), (2, 4)),
    )


def test_spans_by_hand() -> None:
    past = KeptKeys(2)
    # A stem of 2; a branch of 1 with a slot of 1 and a slot of 2.
    part = Part(0, past, (1, 2), None, (Block((3, 4, 5, 6), (-1, 0, 0, 2), ()),))
    spans = spans_of([part, Part(1, None, (1,), None, ())], CPU)
    assert spans.first.tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 0]
    assert spans.last.tolist() == [6, 6, 6, 4, 6, 6, 7, 6, 6]
    assert spans.pasts == (past,)


def test_spans_are_the_mask_that_bands_stand_for() -> None:
    parts = [
        Part(0, None, tuple(range(150)), None, tuple(block(n, *SLOTS) for n in (30, 40, 35))),
        Part(1, None, (1, 2, 3), None, (block(1, *SLOTS), block(0, *SLOTS))),
        Part(2, None, tuple(range(20)), None, ()),
    ]
    like = torch.zeros(1)
    want = dense_mask(lay_out(parts, like), None) == 0
    spans = lay_out(parts, like, flex=True).spans
    assert spans is not None
    assert torch.equal(seen(spans), want)


def test_tiles_are_those_that_torch_finds() -> None:
    past = KeptKeys(200)
    parts = [
        Part(0, past, tuple(range(300)), None, (block(100, *SLOTS), block(140, *SLOTS))),
        Part(1, None, tuple(range(400)), None, (block(3, *SLOTS),)),
    ]
    spans = spans_of(parts, CPU)
    rows, keys = spans.rows, len(spans.first)
    want = create_block_mask(spans.mask.mask_mod, None, None, rows, keys, device="cpu")
    assert spans.mask.shape == want.shape == (1, 1, rows, keys)
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(spans.mask, name), getattr(want, name)), name
    assert torch.equal(spans.mask.to_dense(), want.to_dense())
    assert int(spans.mask.full_kv_num_blocks.sum()) > 5  # type: ignore[union-attr]
    assert spans.mask.to_dense().float().mean() < 0.6


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_a_model_scores_by_flex_as_in_bands(tmp_path: Path, name: str) -> None:
    path = saved(MODELS[name](), tmp_path)
    trees = _trees(60, VOCAB)  # shared instructions, which are kept, and long branches
    for budget in (2048, 24):
        engine = open_packed(path, token_budget=budget)
        want = _flat(engine.score(trees))
        engine.forget()
        engine._flex = True
        for _ in range(2):  # the second time with what the first one kept
            assert _flat(engine.score(trees)) == pytest.approx(want, abs=1e-4)


@pytest.mark.long
def test_heads_in_threes(tmp_path: Path) -> None:
    shape = {"num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 72}
    engine = open_packed(saved(llama(**shape), tmp_path))
    want = _flat(engine.score(_trees(60, VOCAB)))
    engine.forget()
    engine._flex = True
    assert _flat(engine.score(_trees(60, VOCAB))) == pytest.approx(want, abs=1e-4)


@pytest.mark.long
def test_where_flex_fails_bands_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(llama(), tmp_path)
    bands = open_packed(path)

    def asked_for_a_gpu(model: Any, info: Any, limits: Any, flex: bool) -> Any:
        return real(model, info, limits, True)

    real = open_packed.__globals__["_way"]
    monkeypatch.setitem(open_packed.__globals__, "_way", asked_for_a_gpu)
    engine = open_packed(path)
    assert engine._flex and not engine.info.notes

    class CompilerError(Exception):
        pass

    def broken(*_: Any, **__: Any) -> None:
        raise CompilerError("no such kernel\nand much more")

    def wrong(query: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        return query

    for fault, why in ((broken, "CompilerError: no such kernel"), (wrong, "differ from plain")):
        monkeypatch.setattr(flex, "flex_attention", fault)
        engine = open_packed(path, ways=bands.ways)
        (note,) = engine.info.notes
        assert note.startswith("attention in bands, which is slower on a GPU")
        assert why in note and "much more" not in note
        assert _flat(engine.score(_trees(60, VOCAB))) == _flat(bands.score(_trees(60, VOCAB)))


# ---- gradients, which FlexAttention has on a GPU only


def dense(query: Any, key: Any, value: Any, block_mask: Any, scale: float, enable_gqa: bool) -> Any:
    """What FlexAttention computes, with gradients."""
    rows, keys = (torch.arange(states.shape[2]) for states in (query, key))
    mask = block_mask.mask_mod(0, 0, rows[:, None], keys[None])
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, mask, scale=scale, enable_gqa=enable_gqa
    )


def test_the_trial_of_gradients_tells_right_from_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (9, 3, 8, CPU, torch.float32)
    reason = faulty_gradients(*sizes)
    assert reason is not None and "backward" in reason  # as a CPU has none
    monkeypatch.setattr(flex, "flex_attention", dense)
    assert faulty_gradients(*sizes) is None
    faults: list[Callable[..., Any]] = [
        lambda q, k, v, **m: dense(1.1 * q, k, v, **m),
        lambda q, k, v, **m: dense(q, k.detach(), v, **m) + 0 * k.sum(),
    ]
    for fault in faults:
        monkeypatch.setattr(flex, "flex_attention", fault)
        assert "away from" in str(faulty_gradients(*sizes))


@pytest.mark.slow
def test_training_by_flex_ends_where_training_in_bands_does(
    tmp_path: Path, tiny_llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "toys", tiny_llama_path)
    bands = run(root, "bands")
    calls = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return dense(*args, **kwargs)

    monkeypatch.setattr(flex, "flex_attention", counted)
    monkeypatch.setattr(adapter_model, "trains_by_flex", lambda model, say: True)
    by_flex = run(root, "flex")
    assert calls > 10
    assert apart(bands.path, by_flex.path) < 1e-4
    for name, value in bands.after["toys/like"].items():
        assert by_flex.after["toys/like"][name] == pytest.approx(value, abs=1e-4)
