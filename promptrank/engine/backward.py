"""Tree attention with gradients, for training: the same rows, bands and numbers as for scoring.

Probabilities are not kept from the forward pass but computed again, band by band, so that memory
grows with the rows and not with their square (as Dao et al. 2022, arXiv:2205.14135, do by tiles).
"""

from collections.abc import Iterator
from typing import Any

import torch

from promptrank.engine.layout import Band, Segment

Tensor = torch.Tensor


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    tree: tuple[Segment, ...],
    window: int | None = None,
) -> Tensor:
    """Attention over one forward's rows.

    Args:
        query: (1, heads, rows, head dim).
        key: (1, kv heads, rows, head dim), like ``value``.
        scale: of the scores.
        tree: the rows' layout; segments with a past are refused, since nothing could learn there.
        window: the layer's, for which the layout has bands; None for attention over all tokens.

    Returns:
        (1, rows, heads, head dim).
    """
    if any(segment.past or segment.keep for segment in tree):
        raise ValueError("kept keys and values have no gradient")
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        # As torch does for its own attention: rotary positions leave queries and keys in float32.
        lower = torch.get_autocast_dtype(kind)
        query, key, value = query.to(lower), key.to(lower), value.to(lower)
    out: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, scale, tuple(_bands(tree, window))
    )
    return out


class _Attention(torch.autograd.Function):
    """The two passes; see `attend`."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        bands: tuple[tuple[int, Band], ...],
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale, ctx.bands = scale, bands
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[-1])
        with torch.autocast(query.device.type, enabled=False):
            for start, band in bands:
                rows, seen = _places(start, band)
                weights, _, _ = _weights(band, scale, query[0], key[0], seen, rows)
                mixed = torch.bmm(weights, _side_by_side(value[0], seen, rows))
                out[0, rows] = mixed.view(query.shape[1], band.rows, -1).transpose(0, 1)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        (grad,) = grads
        to_query = torch.empty_like(query, memory_format=torch.contiguous_format)
        to_key = torch.zeros_like(key, memory_format=torch.contiguous_format)
        to_value = torch.zeros_like(value, memory_format=torch.contiguous_format)
        with torch.autocast(query.device.type, enabled=False):
            for start, band in ctx.bands:
                _band_back(
                    start,
                    band,
                    ctx.scale,
                    (query[0], key[0], value[0]),
                    grad[0],
                    (to_query[0], to_key[0], to_value[0]),
                )
        return to_query, to_key, to_value, None, None


def _bands(tree: tuple[Segment, ...], window: int | None) -> Iterator[tuple[int, Band]]:
    """Every band of a layer with the first row of its segment."""
    return ((segment.start, band) for segment in tree for band in segment.within(window))


def _places(start: int, band: Band) -> tuple[slice, slice]:
    """The band's own rows, and the rows before them that they see."""
    rows = slice(band.start, band.start + band.rows)
    return rows, slice(start + band.since, start + band.seen)


def _side_by_side(array: Tensor, seen: slice, rows: slice) -> Tensor:
    """What the band sees, then its own: a product is then one for all key heads."""
    return torch.cat((array[:, seen], array[:, rows]), 1)


def _weights(
    band: Band, scale: float, query: Tensor, key: Tensor, seen: slice, rows: slice
) -> tuple[Tensor, Tensor, Tensor]:
    """The band's attention probabilities, (kv heads, rows of a key head, keys), queries, keys."""
    heads, kv_heads, dim = query.shape[0], key.shape[0], query.shape[2]
    mine = query[:, rows].reshape(kv_heads, -1, dim)
    keys = _side_by_side(key, seen, rows)
    scores = query.new_empty(kv_heads, mine.shape[1], keys.shape[1])
    torch.baddbmm(scores, mine, keys.mT, beta=0, alpha=scale, out=scores)
    by_head = scores.view(heads, band.rows, -1)
    by_head[:, :, -band.rows :] += band.mask
    if band.edge is not None:
        by_head[:, :, : band.edge.shape[1]] += band.edge
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)
    return weights, mine, keys


def _band_back(
    start: int,
    band: Band,
    scale: float,
    inputs: tuple[Tensor, Tensor, Tensor],
    grad: Tensor,
    outputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Add one band's gradients to ``outputs``; ``grad`` is (rows, heads, head dim)."""
    (query, key, value), (to_query, to_key, to_value) = inputs, outputs
    rows, seen = _places(start, band)
    weights, mine, keys = _weights(band, scale, query, key, seen, rows)
    heads, kv_heads = query.shape[0], key.shape[0]
    above = grad[rows].transpose(0, 1).reshape(kv_heads, -1, value.shape[-1])
    cut = band.seen - band.since
    to_values = torch.bmm(weights.mT, above)
    to_weights = torch.bmm(above, _side_by_side(value, seen, rows).mT)
    # The gradient of a softmax: p * (g - sum(p * g)).
    to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype).mul_(scale)
    to_keys = torch.bmm(to_scores.mT, mine)
    for total, part in ((to_value, to_values), (to_key, to_keys)):
        total[:, seen] += part[:, :cut]
        total[:, rows] += part[:, cut:]
    to_query[:, rows] = torch.bmm(to_scores, keys).view(heads, band.rows, -1)
