"""Tree attention with gradients, for training: the same rows, bands and numbers as for scoring.

Probabilities are not kept from the forward pass but computed again, band by band, so that memory
grows with the rows and not with their square (as Dao et al. 2022, arXiv:2205.14135, do by tiles).
"""

from collections.abc import Iterator
from typing import Any

import torch

from promptrank.engine.layout import Band, Segment
from promptrank.engine.products import OWN
from promptrank.engine.weighing import join, mixed, scaled, side_by_side, split, times, weights

Tensor = torch.Tensor


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    tree: tuple[Segment, ...],
    window: int | None = None,
    way: str = OWN,
) -> Tensor:
    """Attention over one forward's rows.

    Args:
        query: (1, heads, rows, head dim).
        key: (1, kv heads, rows, head dim), like ``value``.
        scale: of the scores.
        tree: the rows' layout; segments with a past are refused, since nothing could learn there.
        window: the layer's, for which the layout has bands; None for attention over all tokens.
        way: of the products; see `weighing`.

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
        way = way if lower == torch.float32 else OWN
    out: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, scale, tuple(_bands(tree, window)), way
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
        way: str,
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale, ctx.bands, ctx.way = scale, bands, way
        heads, kv_heads = query.shape[1], key.shape[1]
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[-1])
        with torch.autocast(query.device.type, enabled=False):
            for start, band in bands:
                rows, seen = _places(start, band)
                mine = scaled(query[0], rows, scale, kv_heads)
                keys = side_by_side(key[0], seen, key[0], rows)
                values = side_by_side(value[0], seen, value[0], rows)
                done = mixed(band, mine, keys, values, heads, way)
                out[0, rows] = done.transpose(0, 1)
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
                    ctx.way,
                    (query[0], key[0], value[0]),
                    grad[0],
                    (to_query[0], to_key[0], to_value[0]),
                )
        return to_query, to_key, to_value, None, None, None


def _bands(tree: tuple[Segment, ...], window: int | None) -> Iterator[tuple[int, Band]]:
    """Every band of a layer with the first row of its segment."""
    return ((segment.start, band) for segment in tree for band in segment.within(window))


def _places(start: int, band: Band) -> tuple[slice, slice]:
    """The band's own rows, and the rows before them that they see."""
    rows = slice(band.start, band.start + band.rows)
    return rows, slice(start + band.since, start + band.seen)


def _band_back(
    start: int,
    band: Band,
    scale: float,
    way: str,
    inputs: tuple[Tensor, Tensor, Tensor],
    grad: Tensor,
    outputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Add one band's gradients to ``outputs``; ``grad`` is (rows, heads, head dim)."""
    (query, key, value), (to_query, to_key, to_value) = inputs, outputs
    rows, seen = _places(start, band)
    heads, kv_heads = query.shape[0], key.shape[0]
    mine = scaled(query, rows, scale, kv_heads)
    keys = side_by_side(key, seen, key, rows)
    values = side_by_side(value, seen, value, rows)
    above = grad[rows].transpose(0, 1).reshape(kv_heads, -1, value.shape[-1])
    arrays = zip(*(split(array, way) for array in (mine, keys, values, above)), strict=True)
    back = [_products_back(band, q, k, v, up, way) for q, k, v, up in arrays]
    to_queries, to_keys, to_values = (list(each) for each in zip(*back, strict=True))
    to_query[:, rows] = join(to_queries, heads, band.rows).mul_(scale)
    cut = band.seen - band.since
    for total, parts in ((to_key, to_keys), (to_value, to_values)):
        whole = join(parts, kv_heads, keys.shape[1])
        total[:, seen] += whole[:, :cut]
        total[:, rows] += whole[:, cut:]


def _products_back(
    band: Band, mine: Tensor, keys: Tensor, values: Tensor, above: Tensor, way: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the scaled queries, the keys and the values; ``above`` is the rows' own."""
    probabilities = weights(band, mine, keys, way)
    to_values = probabilities.mT @ above
    to_weights = times(above, values, way)
    # The gradient of a softmax: p * (g - sum(p * g)).
    to_scores = torch._softmax_backward_data(to_weights, probabilities, -1, to_weights.dtype)
    return times(to_scores, keys.mT, way), to_scores.mT @ mine, to_values
