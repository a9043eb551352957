"""Tree attention with gradients: the same numbers as for scoring, and the gradients of sdpa."""

from typing import Any

import pytest
import torch

from promptrank.engine import attention, products
from promptrank.engine.backward import attend
from promptrank.engine.contract import Branch, Slot
from promptrank.engine.cutting import KeptKeys, Part, flatten, tries
from promptrank.engine.forward import run
from promptrank.engine.layout import Forward, lay_out
from promptrank.engine.sliding import Windows
from support.engines import MODELS

SLOTS = (Slot((7,), ((5,), (6, 8), (6, 9))), Slot((3, 4), ((1,), (2,))))


def forward_of(
    *shapes: tuple[int, tuple[int, ...]], like: torch.Tensor, windows: Windows = ()
) -> Forward:
    """Segments of a stem and branches of these lengths."""
    parts = []
    for number, (stem, branches) in enumerate(shapes):
        blocks = []
        for place, length in enumerate(branches):
            branch = Branch(tuple(range(10, 10 + length)), SLOTS)
            slots = list(zip(range(2), SLOTS, tries(branch), strict=True))
            blocks.append(flatten(place, branch.ids, slots))
        parts.append(Part(number, None, tuple(n % 90 for n in range(stem)), None, tuple(blocks)))
    return lay_out(parts, like, windows)


def dense_mask(forward: Forward, window: int | None) -> torch.Tensor:
    """The whole mask that the bands stand for."""
    rows = forward.ids.shape[1]
    mask = torch.full((rows, rows), float("-inf"), dtype=torch.float64)
    for segment in forward.segments:
        for band in segment.bands:
            mine = slice(band.start, band.start + band.rows)
            mask[mine, segment.start : segment.start + band.seen] = 0
            mask[mine, mine] = band.mask.double()
    if window is not None:
        # Of all that a row sees, what stands no further back than the window.
        behind = forward.positions[0][:, None] - forward.positions[0]
        mask[behind >= window] = float("-inf")
    return mask


WAYS = products.available(torch.float32)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("window", [None, 1, 25, 140])
def test_values_and_gradients_are_those_of_sdpa(window: int | None, way: str) -> None:
    torch.manual_seed(0)
    # Stems of more than one band (about 128 rows) and sides of more than one (about 80 rows).
    forward = forward_of(
        (200, (30, 40, 35)),
        (3, (1,)),
        (20, ()),
        like=torch.zeros(1),
        windows=(window,),
    )
    rows = forward.ids.shape[1]
    query, key, value = (torch.randn(1, heads, rows, 8, requires_grad=True) for heads in (4, 2, 2))
    got = attend(query, key, value, 0.3, forward.segments, window, way)
    want = torch.nn.functional.scaled_dot_product_attention(
        query.double(),
        key.double(),
        value.double(),
        dense_mask(forward, window),
        scale=0.3,
        enable_gqa=True,
    ).transpose(1, 2)
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=1e-5)
    above = torch.randn_like(got)
    ours = torch.autograd.grad(got, (query, key, value), above)
    theirs = torch.autograd.grad(want, (query, key, value), above.double())
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_a_model_says_the_same_with_gradients_as_without(kind: str) -> None:
    attention.register()
    model: Any = MODELS[kind]()
    model.set_attn_implementation(attention.NAME)
    model.reads_rows = False
    forward = forward_of((40, (9, 5)), (140, (4,)), like=torch.zeros(1))
    with torch.inference_mode():
        want = run(model, forward)
    got = run(model, forward)
    assert got.requires_grad
    torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-5)


def test_a_kept_past_is_refused() -> None:
    forward = lay_out([Part(0, None, (1, 2), KeptKeys(2), ())], torch.zeros(1))
    states = torch.randn(1, 2, 2, 8, requires_grad=True)
    with pytest.raises(ValueError, match="no gradient"):
        attend(states, states, states, 1.0, forward.segments)
