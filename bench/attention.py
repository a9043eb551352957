"""Time of attention over one band of rows, in each way that its products can go.

    python bench/attention.py [--shape 3 3 64] [--threads N] [--seconds S]

Bands as they come up in scoring: a piece of a prefix, a few candidates behind a prefix. Ways take
turns; a time is the best of many, since a shared machine only ever adds to it. ``flash`` is torch's
own fused attention with the same mask, for comparison: no engine takes it.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch

from promptrank.engine import products, weighing
from promptrank.engine.layout import Band
from promptrank.runtime.kept_ways import processor

BANDS = ((131, 150), (85, 264), (40, 264), (80, 1000))
Tensor = torch.Tensor


def flash(band: Band, mine: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """The band by torch's fused attention, to which every head brings keys of its own."""
    kv_heads = keys.shape[0]
    mask = torch.cat((torch.zeros(band.rows, band.seen), band.mask), 1)[None, None]
    query = mine.view(1, heads, band.rows, -1)
    wide = (array.repeat_interleave(heads // kv_heads, 0)[None] for array in (keys, values))
    flash_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    out: Tensor = flash_attention(query, *wide, 0.0, False, attn_mask=mask, scale=1.0)[0][0]
    return out


def best(runs: Mapping[str, Callable[[], Tensor]], seconds: float) -> dict[str, float]:
    """Seconds of each, which take turns."""
    taken = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            taken[name] = min(taken[name], time.perf_counter() - start)
    return taken


@torch.inference_mode()
def main() -> None:
    """A line a band."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=[3, 3, 64])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=2.0, help="for each band")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    kv_heads, group, dim = args.shape
    heads = kv_heads * group
    print(f"{processor()}, {args.threads} threads; {heads} heads on {kv_heads}, of {dim}")
    draw = torch.Generator().manual_seed(0)
    for rows, seen in BANDS:
        mask = torch.full((rows, rows), float("-inf")).triu(1)
        band = Band(0, rows, seen, mask)
        mine, keys, values = (
            torch.randn(kv_heads, n, dim, generator=draw)
            for n in (rows * group, seen + rows, seen + rows)
        )
        mine *= dim**-0.5
        given = (band, mine, keys, values, heads)
        ways = products.available(torch.float32)
        runs = {way: partial(weighing.mixed, *given, way) for way in ways}
        runs["flash"] = partial(flash, *given)
        want = runs[products.OWN]()
        for name, run in runs.items():
            if not products.close_to(run(), want):
                raise SystemExit(f"{name}: other numbers")
        taken = best(runs, args.seconds)
        told = ", ".join(f"{name} {1e6 * t:.0f}" for name, t in taken.items())
        flops = 4 * heads * rows * (rows + seen) * dim
        rates = ", ".join(f"{name} {flops / t / 1e9:.0f}" for name, t in taken.items())
        print(f"{rows} rows that see {seen} keys and each other: us {told}; GFLOP/s {rates}")


if __name__ == "__main__":
    main()
