"""Tree attention as one FlexAttention, for GPUs: no loop over bands, one kernel a layer.

Rows stand in depth-first order: a part's stem, then its blocks, every token before those that see
it. So the rows that see a key are neighbours: from the key itself to the end of its subtree. Two
numbers a key are the whole mask,

    row q sees key k  iff  first[k] <= q < last[k],

and past keys (those kept from earlier forwards), which stand behind the forward's own, have those
of the rows of the parts that they belong to.

FlexAttention (Dong et al. 2024, arXiv:2412.05496) skips tiles in which no row sees a key. Which
those are follows from the same two numbers, without a mask of all rows and keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from promptrank.engine.cutting import Block, KeptKeys, Part

Tensor = torch.Tensor
_TILE = 128
_KERNELS = 64
_SCALE = 0.125
_CLOSE = {torch.float32: 5e-3, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Of the largest number; float32 may be multiplied as TF32."""


@dataclass(frozen=True, slots=True)
class Stem:
    """A part's stem whose keys are to be kept: ``rows`` from ``start``, after the part's past."""

    start: int
    rows: int
    past: KeptKeys | None
    keep: KeptKeys


@dataclass(frozen=True, slots=True)
class Spans:
    """Who sees whom in one forward.

    Attributes:
        rows: of the forward.
        first, last: (rows + past keys,), int32; see the module.
        pasts: kept keys behind the forward's own, in their order.
        stems: those that are kept.
        mask: the same for FlexAttention.
    """

    rows: int
    first: Tensor
    last: Tensor
    pasts: tuple[KeptKeys, ...]
    stems: tuple[Stem, ...]
    mask: BlockMask

    def to(self, device: Any) -> "Spans":
        """The same on another device."""
        first, last = self.first.to(device), self.last.to(device)
        return Spans(
            self.rows, first, last, self.pasts, self.stems, block_mask(first, last, self.rows)
        )


def spans_of(parts: Sequence[Part], device: torch.device) -> Spans:
    """The spans of parts that stand one after another as rows (see `layout.lay_out`)."""
    last: list[int] = []
    pasts: list[KeptKeys] = []
    seen: list[tuple[int, int]] = []  # by the rows of each past
    stems = []
    for part in parts:
        start, end = len(last), len(last) + part.tokens
        last += [end] * len(part.stem)
        for block in part.blocks:
            last += _ends(block.parents, len(last))
        if part.past is not None:
            if pasts and pasts[-1] is part.past and seen[-1][1] == start:
                seen[-1] = (seen[-1][0], end)  # shared with the part before
            else:
                pasts.append(part.past)
                seen.append((start, end))
        if part.keep is not None:
            stems.append(Stem(start, len(part.stem), part.past, part.keep))
    rows = len(last)
    first = list(range(rows))
    for past, (start, end) in zip(pasts, seen, strict=True):
        first += [start] * past.length
        last += [end] * past.length
    from_, until = (torch.tensor(n, dtype=torch.int32, device=device) for n in (first, last))
    mask = block_mask(from_, until, rows)
    return Spans(rows, from_, until, tuple(pasts), tuple(stems), mask)


def _ends(parents: Sequence[int], base: int) -> list[int]:
    """Where the subtree of each token of a block ends, as rows of the forward.

    Args:
        parents: of each token, -1 for the stem; in depth-first order.
        base: row of the block's first token.
    """
    ends = list(range(1, len(parents) + 1))
    for row in range(len(parents) - 1, -1, -1):
        if (parent := parents[row]) >= 0:
            ends[parent] = max(ends[parent], ends[row])
    return [base + end for end in ends]


def block_mask(first: Tensor, last: Tensor, rows: int, tile: int = _TILE) -> BlockMask:
    """The mask of spans, with the tiles of (rows, keys) that are seen in part and in whole.

    Args:
        first, last: (keys,).
    """
    keys = len(first)
    across = -(-keys // tile)
    # What fills up the last tiles is seen by nobody and sees nothing, so those are never whole.
    filled = across * tile - keys
    low = torch.nn.functional.pad(first, (0, filled), value=rows).view(across, tile)
    high = torch.nn.functional.pad(last, (0, filled), value=0).view(across, tile)
    starts = torch.arange(0, rows, tile, device=first.device, dtype=first.dtype)[:, None, None]
    some = ((low < starts + tile) & (high > starts)).any(-1)
    whole = ((low <= starts) & (high >= starts + tile)).all(-1)

    def seen(batch: Tensor, head: Tensor, row: Tensor, key: Tensor) -> Tensor:
        return (first[key] <= row) & (row < last[key])

    return BlockMask.from_kv_blocks(
        *_ordered(some & ~whole), *_ordered(whole), tile, seen, seq_lengths=(rows, keys)
    )


def _ordered(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Per tile of rows how many tiles of keys, and which, those first: (1, 1, ...) int32."""
    numbers = torch.argsort(tiles.int(), dim=-1, descending=True, stable=True)
    return tiles.sum(-1).int()[None, None], numbers.int().contiguous()[None, None]


def attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, spans: Spans, layer: int
) -> Tensor:
    """Attention over one forward's rows.

    Args:
        query: (1, heads, rows, head dim).
        key: (1, kv heads, rows, head dim), like ``value``.
        scale: of the scores.
        layer: whose past keys are read, and whose stems are kept.

    Returns:
        (1, rows, heads, head dim).
    """
    kind = query.device.type
    if torch.is_autocast_enabled(kind):  # rotary positions leave queries and keys in float32
        lower = torch.get_autocast_dtype(kind)
        query, key, value = query.to(lower), key.to(lower), value.to(lower)
    for stem in spans.stems:
        own = slice(stem.start, stem.start + stem.rows)
        pair = [states[0, :, own] for states in (key, value)]
        if stem.past is not None:
            before = stem.past.layers[layer]
            pair = [torch.cat(states, 1) for states in zip(before, pair, strict=True)]
        stem.keep.layers[layer] = (pair[0].contiguous(), pair[1].contiguous())
    if spans.pasts:
        before_all = zip(*(past.layers[layer] for past in spans.pasts), strict=True)
        key, value = (
            torch.cat((own[0], *before), 1)[None]
            for own, before in zip((key, value), before_all, strict=True)
        )
    groups = query.shape[1] // key.shape[1]
    shared = groups & (groups - 1) == 0
    if not shared:  # the kernel for few rows takes powers of 2 only
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    call: Any = _compiled() if kind == "cuda" else flex_attention
    out: Tensor = call(
        query, key, value, block_mask=spans.mask, scale=scale, enable_gqa=shared and groups > 1
    )
    return out.transpose(1, 2)


@cache
def _compiled() -> Any:
    """FlexAttention as a kernel, for any number of rows and keys, since each forward has its own.

    It is compiled anew where two of its sizes happen to be equal or one is 1. Past its limit torch
    would go on without a kernel, and hold all scores in memory.
    """
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _KERNELS)
    return torch.compile(flex_attention, dynamic=True)


def faulty_gradients(
    heads: int, kv_heads: int, width: int, device: torch.device, dtype: torch.dtype
) -> str | None:
    """Why FlexAttention cannot train on a device, else None: a trial against torch's own attention.

    Args:
        width: head dim.
    """
    block = Block((0,) * 60, (*range(-1, 39), 9, *range(40, 59)), ())
    parts = [Part(n, None, (0,) * stem, None, (block, block)) for n, stem in enumerate((150, 7))]
    spans = spans_of(parts, device)
    rows = torch.arange(spans.rows, device=device)[:, None]
    seen = (spans.first <= rows) & (rows < spans.last)
    draw = torch.Generator().manual_seed(0)
    states = [
        torch.randn(1, n, spans.rows, width, generator=draw).to(device, dtype).requires_grad_()
        for n in (heads, kv_heads, kv_heads)
    ]
    query, key, value = states
    plain = torch.nn.functional.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), seen, scale=_SCALE, enable_gqa=True
    ).transpose(1, 2)
    above = torch.randn(plain.shape, generator=draw).to(device)
    want = torch.autograd.grad(plain, states, above)
    try:
        out = attend(query, key, value, _SCALE, spans, 0)
        got = torch.autograd.grad(out, states, above.to(out))
    except Exception as error:  # the compiler's are of every kind
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
    for ours, theirs in zip((out.detach(), *got), (plain.detach(), *want), strict=True):
        apart = float((ours.float() - theirs.float()).abs().max() / theirs.float().abs().max())
        if not apart <= _CLOSE[dtype]:
            return f"it is {apart:.2g} of the largest number away from torch's own attention"
    return None
