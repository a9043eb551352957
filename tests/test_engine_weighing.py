"""Attention's products: every way mixes the same values, and what is chosen can be had."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from promptrank.engine import products, weighing
from promptrank.engine.contract import Branch, Slot
from promptrank.engine.cutting import Part, flatten, tries
from promptrank.engine.layout import Band, lay_out
from promptrank.engine.packed import open_packed
from promptrank.engine.probe import _flat, _trees
from promptrank.engine.products import ONEDNN, OWN
from support.engines import VOCAB, adapter, llama, saved

SHAPE = (2, 2, 8)
needs_onednn = pytest.mark.skipif(
    ONEDNN not in products.available(torch.float32), reason="this torch has no oneDNN"
)


@pytest.mark.parametrize("way", products.available(torch.float32))
def test_a_band_by_hand(way: str) -> None:
    # Two heads on one key head of width 1; row 0 sees the first key and its own, row 1 all three.
    query = torch.tensor([[[0.0], [1.0]], [[2.0], [0.0]]])
    keys, values = torch.tensor([[[0.0], [1.0], [2.0]]]), torch.tensor([[[1.0], [2.0], [4.0]]])
    band = Band(0, 2, 1, torch.tensor([[0.0, float("-inf")], [0.0, 0.0]]))
    mine = weighing.scaled(query, slice(0, 2), 1.0, 1)
    got = weighing.mixed(band, mine, keys, values, 2, way)
    e = torch.e
    want = [
        [[(1 + 2) / 2], [(1 + 2 * e + 4 * e**2) / (1 + e + e**2)]],
        [[(1 + 2 * e**2) / (1 + e**2)], [(1 + 2 + 4) / 3]],
    ]
    torch.testing.assert_close(got, torch.tensor(want))


@pytest.mark.long
@needs_onednn
def test_a_model_scores_the_same_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken, real = Counter[str](), weighing.times

    def told(left: torch.Tensor, right: torch.Tensor, way: str) -> torch.Tensor:
        taken[way] += 1
        return real(left, right, way)

    monkeypatch.setattr(weighing, "times", told)
    path = saved(llama(), tmp_path / "base")
    tuned = str(adapter(llama(), tmp_path / "tuned", seed=3))
    scores = []
    for way in (OWN, ONEDNN):
        engine = open_packed(path, ways={SHAPE: way}, adapters=[tuned])
        assert engine.ways[SHAPE] == way
        taken.clear()
        scores.append(_flat(engine.score(_trees(40, VOCAB))))
        assert list(taken) == [way]
    assert scores[0]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)


@needs_onednn
def test_what_gives_other_numbers_or_cannot_run_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model: Any = llama()
    real = weighing.times

    def wrong(left: torch.Tensor, right: torch.Tensor, way: str) -> torch.Tensor:
        return real(left, right, way) + (way == ONEDNN)

    def broken(left: torch.Tensor, right: torch.Tensor, way: str) -> torch.Tensor:
        if way == ONEDNN:
            raise RuntimeError("no such instruction")
        return real(left, right, way)

    for times in (wrong, broken):
        monkeypatch.setattr(weighing, "times", times)
        assert weighing.settle(model) == {SHAPE: OWN}
        # A choice kept on another processor, and a way that only another version knows.
        assert weighing.settle(model, {SHAPE: ONEDNN}) == {SHAPE: OWN}
        assert weighing.settle(model, {SHAPE: "quantum"}) == {SHAPE: OWN}
        assert weighing.way_of(model.model.layers[0].self_attn, torch.zeros(1)) == OWN


@needs_onednn
def test_queries_of_another_type_go_by_torch() -> None:
    model: Any = llama()
    assert weighing.settle(model, {SHAPE: ONEDNN}) == {SHAPE: ONEDNN}
    layer = model.model.layers[0].self_attn
    assert weighing.way_of(layer, torch.zeros(1)) == ONEDNN
    assert weighing.way_of(layer, torch.zeros(1, dtype=torch.bfloat16)) == OWN
    assert weighing.settle(llama().bfloat16()) == {}


def test_bands_are_even_and_hold_whole_branches() -> None:
    slot = Slot((7,), ((5,),))
    lengths = (20, 15, 30, 16, 19, 14, 18, 90, 17)
    branches = [Branch(tuple(range(10, 10 + length)), (slot,)) for length in lengths]
    blocks = [flatten(n, b.ids, [(0, slot, tries(b)[0])]) for n, b in enumerate(branches)]
    part = Part(0, None, tuple(range(270)), None, tuple(blocks))
    (segment,) = lay_out([part], torch.zeros(1)).segments
    stem = [band for band in segment.bands if band.start < 270]
    assert [(band.start, band.rows, band.seen) for band in stem] == [(0, 135, 0), (135, 135, 135)]
    ends, at = {270}, 270
    for block in blocks:
        at += len(block.ids)
        ends.add(at)
    sides = segment.bands[len(stem) :]
    assert [side.start for side in sides] == [270, *(s.start + s.rows for s in sides[:-1])]
    assert sides[-1].start + sides[-1].rows == at
    assert {side.start for side in sides} < ends
    assert {side.seen for side in sides} == {270}
    # A branch longer than a side is one by itself; others are nearly as long as one another.
    assert max(side.rows for side in sides) < 130
