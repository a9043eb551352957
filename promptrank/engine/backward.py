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
                weights, _ = _weights(band, scale, query[0], key[0], seen, rows)
                cut = band.seen - band.since
                mixed = torch.bmm(weights[:, :, cut:], value[0][:, rows])
                if cut:
                    mixed.baddbmm_(weights[:, :, :cut], value[0][:, seen])
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


def _weights(
    band: Band, scale: float, query: Tensor, key: Tensor, seen: slice, rows: slice
) -> tuple[Tensor, Tensor]:
    """The band's attention probabilities, (kv heads, rows of a key head, keys), and its queries."""
    heads, kv_heads, dim = query.shape[0], key.shape[0], query.shape[2]
    mine = query[:, rows].reshape(kv_heads, -1, dim)
    cut = band.seen - band.since
    scores = query.new_empty(kv_heads, mine.shape[1], cut + band.rows)
    if cut:
        common = scores[:, :, :cut]
        torch.baddbmm(common, mine, key[:, seen].mT, beta=0, alpha=scale, out=common)
    own = scores[:, :, cut:]
    torch.baddbmm(own, mine, key[:, rows].mT, beta=0, alpha=scale, out=own)
    by_head = scores.view(heads, band.rows, -1)
    by_head[:, :, cut:] += band.mask
    if band.edge is not None:
        by_head[:, :, : band.edge.shape[1]] += band.edge
    return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype), mine


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
    weights, mine = _weights(band, scale, query, key, seen, rows)
    heads, kv_heads = query.shape[0], key.shape[0]
    above = grad[rows].transpose(0, 1).reshape(kv_heads, -1, value.shape[-1])
    to_weights = torch.empty_like(weights)
    cut = band.seen - band.since
    to_value[:, rows].baddbmm_(weights[:, :, cut:].mT, above)
    to_weights[:, :, cut:] = torch.bmm(above, value[:, rows].mT)
    if cut:
        to_value[:, seen].baddbmm_(weights[:, :, :cut].mT, above)
        to_weights[:, :, :cut] = torch.bmm(above, value[:, seen].mT)
    # The gradient of a softmax: p * (g - sum(p * g)).
    to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
    to_key[:, rows].baddbmm_(to_scores[:, :, cut:].mT, mine, alpha=scale)
    to_rows = torch.bmm(to_scores[:, :, cut:], key[:, rows])
    if cut:
        to_key[:, seen].baddbmm_(to_scores[:, :, :cut].mT, mine, alpha=scale)
        to_rows.baddbmm_(to_scores[:, :, :cut], key[:, seen])
    to_query[:, rows] = to_rows.mul_(scale).view(heads, band.rows, -1)
