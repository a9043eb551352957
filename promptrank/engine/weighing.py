"""Attention of one band of rows: what each row weighs, and the mixture of values, everywhere alike.

Its products go the way that is fastest on this processor, as those of linear layers do: by torch,
for all key heads at once, or by oneDNN, one key head after another. Keys and values are new in
every forward, so oneDNN takes them as they lie, and no copy is kept.
"""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from promptrank.engine.layout import Band
from promptrank.engine.products import MARGIN, ONEDNN, OWN, TURNS, WAYS, Shape, available, close_to

Tensor = torch.Tensor

_ROWS, _KEYS = 80, 336
"""Of the band that is timed: a few candidates behind a prefix of 256 tokens."""
_SECONDS = 0.02


def times(left: Tensor, right: Tensor, way: str) -> Tensor:
    """left right', of matrices by oneDNN and of batches by torch.

    Args:
        left: (..., rows, inner), contiguous.
        right: (..., columns, inner), or the transpose of such a matrix.
    """
    if way == OWN:
        return torch.bmm(left, right.mT)
    done: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return done


def split(array: Tensor, way: str) -> tuple[Tensor, ...]:
    """(kv heads, ...) into what `times` takes: all heads as one, or each by itself."""
    return array.unbind() if way == ONEDNN else (array,)


def join(arrays: list[Tensor], heads: int, rows: int) -> Tensor:
    """The other way: (heads, rows, width), where ``heads`` share the arrays evenly."""
    whole = torch.cat(arrays) if len(arrays) > 1 else arrays[0]
    return whole.view(heads, rows, -1)


def scaled(query: Tensor, rows: slice, scale: float, kv_heads: int) -> Tensor:
    """A band's queries (kv heads, rows of a key head, dim), heads that share one as more rows.

    Args:
        query: (heads, rows, dim) of a forward, in any memory order.
        scale: of the scores, here already: queries are copied anyhow.
    """
    mine = query[:, rows]
    out = torch.mul(mine, scale, out=query.new_empty(mine.shape))
    return out.view(kv_heads, -1, query.shape[-1])


def side_by_side(array: Tensor, seen: slice, own: Tensor, rows: slice) -> Tensor:
    """Keys or values that a band sees, then its own: a product is then one for all of them."""
    return torch.cat((array[:, seen], own[:, rows]), 1)


def weights(band: Band, mine: Tensor, keys: Tensor, way: str) -> Tensor:
    """The band's attention probabilities, (..., rows of a key head, keys); see `split`."""
    scores = times(mine, keys, way)
    by_head = scores.view(-1, band.rows, scores.shape[-1])
    by_head[:, :, -band.rows :] += band.mask
    if band.edge is not None:
        by_head[:, :, : band.edge.shape[1]] += band.edge
    # In fp32, as transformers does.
    return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)


def mixed(band: Band, mine: Tensor, keys: Tensor, values: Tensor, heads: int, way: str) -> Tensor:
    """The band's rows of attention: (heads, rows, dim).

    Args:
        mine: of `scaled`.
        keys: (kv heads, keys, dim), like ``values``; of `side_by_side`.
        heads: of the queries.
    """
    arrays = zip(split(mine, way), split(keys, way), split(values.mT, way), strict=True)
    return join([times(weights(band, q, k, way), v, way) for q, k, v in arrays], heads, band.rows)


def way_of(layer: nn.Module, query: Tensor) -> str:
    """The way that `settle` chose for a layer, if its queries are of the type that it is for."""
    way: str = getattr(layer, "attention_way", OWN)
    return way if query.dtype == torch.float32 and query.device.type == "cpu" else OWN


def settle(model: nn.Module, ways: Mapping[Shape, str] | None = None) -> dict[Shape, str]:
    """Choose the way of every attention layer of a model.

    Args:
        ways: what was chosen before.

    Returns:
        (kv heads, queries of a key head, head dim) of each shape of attention -> its way.
    """
    chosen: dict[Shape, str] = {}
    for layer in model.modules():
        shape = _shape(layer)
        if shape is None:
            continue
        if shape not in chosen:
            kept = (ways or {}).get(shape)
            chosen[shape] = kept if kept in WAYS and _works(shape, kept) else _fastest(shape)
        layer.attention_way = chosen[shape]  # type: ignore[assignment]
    return chosen


def _shape(layer: Any) -> Shape | None:
    """Of an attention layer in float32 on a CPU, else None."""
    query, key = getattr(layer, "q_proj", None), getattr(layer, "k_proj", None)
    dim = getattr(layer, "head_dim", None)
    if type(query) is not nn.Linear or type(key) is not nn.Linear or not dim:
        return None
    if query.weight.dtype != torch.float32 or query.weight.device.type != "cpu":
        return None
    kv_heads = key.out_features // dim
    return kv_heads, query.out_features // dim // kv_heads, int(dim)


def _fastest(shape: Shape) -> str:
    """torch's own unless another gives the same numbers in clearly less time."""
    seconds: dict[str, float] = {}
    tried = [way for way in available(torch.float32) if _works(shape, way)]
    if len(tried) < 2:
        return OWN
    given = _drawn(shape)
    turns, end = 0, time.perf_counter() + _SECONDS * len(tried)
    while time.perf_counter() < end or turns < TURNS:
        turns += 1
        for way in tried:
            start = time.perf_counter()
            _mixed(*given, way)
            seconds[way] = min(seconds.get(way, float("inf")), time.perf_counter() - start)
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] * MARGIN < seconds[OWN] else OWN


def _works(shape: Shape, way: str) -> bool:
    """Whether this processor has the way, with torch's numbers."""
    if way == OWN:
        return True
    given = _drawn(shape)
    try:
        return close_to(_mixed(*given, way), _mixed(*given, OWN))
    except (RuntimeError, NotImplementedError, AttributeError):
        return False


def _drawn(shape: Shape) -> tuple[Band, Tensor, Tensor, Tensor, int]:
    """A band of random queries, keys and values: what `mixed` takes but for the way."""
    kv_heads, group, dim = shape
    draw = torch.Generator().manual_seed(0)
    sizes = (_ROWS * group, _KEYS, _KEYS)
    mine, keys, values = (torch.randn(kv_heads, n, dim, generator=draw) for n in sizes)
    band = Band(0, _ROWS, _KEYS - _ROWS, torch.zeros(_ROWS, _ROWS))
    return band, mine * dim**-0.5, keys, values, kv_heads * group


_mixed = torch.inference_mode()(mixed)
