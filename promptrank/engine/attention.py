"""Tree attention: every token sees its past, its stem and its own path, and no mask of all tokens
is built.

Registered with transformers as an attention function. A forward's rows are parts one after
another (see ``layout``); the layout travels as the keyword ``tree``. Rows are attended in bands:
each against the keys that all its rows see, which need no mask, and against the band's own, which
a small square mask orders. In a layer with a sliding window a band begins at the first key that any
of its rows sees, and a mask over the few next keys says which rows still see those. Nothing is
computed for most of what a dense mask would hide.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from promptrank.engine import flex
from promptrank.engine.backward import attend
from promptrank.engine.layout import Segment
from promptrank.engine.sliding import Windows
from promptrank.engine.weighing import mixed, scaled, side_by_side, way_of

NAME = "promptrank_tree"


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    tree: tuple[Segment, ...] | None = None,
    windows: Windows = (),
    spans: flex.Spans | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over one forward's rows; without ``tree``, transformers' own sdpa.

    Args:
        module: the attention layer; its ``layer_idx`` names its keys and values.
        query: (1, heads, rows, head dim).
        key: (1, kv heads, rows, head dim), like ``value``.
        attention_mask: unused with ``tree``.
        scaling: of the scores; 1 / sqrt(head dim) if None.
        tree: the rows' layout.
        windows: of all layers, as the layout has bands for them; none for none. What layers
            themselves pass on as ``sliding_window`` is not read: not all do.
        spans: the same where it is for FlexAttention.
        kwargs: passed on without ``tree``; a soft cap or sinks raise NotImplementedError with it.

    Returns:
        (1, rows, heads, head dim) and None.
    """
    if tree is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise NotImplementedError("soft-capped scores and attention sinks")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: int = module.layer_idx  # type: ignore[assignment]
    if spans is not None:
        return flex.attend(query, key, value, scale, spans, layer), None
    window, way = windows[layer] if windows else None, way_of(module, query)
    if torch.is_grad_enabled() and query.requires_grad:
        return attend(query, key, value, scale, tree, window, way), None
    out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[-1])
    for segment in tree:
        _segment(segment, layer, window, way, scale, query[0], key[0], value[0], out[0])
    return out, None


def _segment(
    segment: Segment,
    layer: int,
    window: int | None,
    way: str,
    scale: float,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Attend one segment's rows of ``query`` into ``out``."""
    start, end = segment.start, segment.start + segment.stem
    keys, values = key[:, start:end], value[:, start:end]
    if segment.past:
        past_keys, past_values = segment.past.layers[layer]
        if segment.stem:
            keys = torch.cat((past_keys, keys), 1)
            values = torch.cat((past_values, values), 1)
        else:
            keys, values = past_keys, past_values
    if segment.keep:
        segment.keep.layers[layer] = (keys.contiguous(), values.contiguous())
    heads, kv_heads = query.shape[0], key.shape[0]
    for band in segment.within(window):
        rows, seen = slice(band.start, band.start + band.rows), slice(band.since, band.seen)
        mine = scaled(query, rows, scale, kv_heads)
        band_keys = side_by_side(keys, seen, key, rows)
        band_values = side_by_side(values, seen, value, rows)
        done = mixed(band, mine, band_keys, band_values, heads, way)
        out[rows] = done.transpose(0, 1)


def register() -> None:
    """Make the attention known to transformers; calling it twice changes nothing."""
    AttentionInterface.register(NAME, tree_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
