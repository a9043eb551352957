"""The product of a linear layer, in the way that is fastest on this processor.

torch hands products of float32 to MKL, which on some processors reaches less than half of what
oneDNN reaches there with weights that were packed beforehand; on others MKL wins. So each shape of
layer is timed once, in turns, when a model is opened. Every way sums the same products, in another
order: scores move by less than 1e-4.

A packed weight is a second copy. The layer keeps its own, which adapters, merging and saving use.
The head, which is large and multiplies a few rows at a time, is taken as it lies.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Tensor = torch.Tensor
Shape = tuple[int, ...]
"""Of a linear layer (out, in); of attention (kv heads, queries of a key head, head dim)."""
Product = Callable[[Tensor, Tensor | None], Tensor]
Fused = Callable[[Tensor, Tensor | None, str, Tensor | None], Tensor]

OWN, ONEDNN = "torch", "onednn"
WAYS = (OWN, ONEDNN)
_ROWS = 512
"""Rows of the products that are timed: about half of a full forward's."""
_HEAD_ROWS = 32
"""Of the head's products: answer slots of a forward."""
_SECONDS = 0.02
TURNS = 5
"""Of each way at least, however long they take: on a busy machine one turn says nothing."""
_SMALL = 1 << 14
"""Weights of a layer below which nothing is to be gained."""
MARGIN = 1.05
"""A second copy of the weights has to earn its memory."""
_CLOSE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def available(dtype: torch.dtype) -> tuple[str, ...]:
    """The ways that this processor and this torch have for products of a type."""
    ops = torch.ops.mkldnn
    if not torch._C._has_mkldnn or not hasattr(ops, "_reorder_linear_weight"):
        return (OWN,)
    if dtype == torch.bfloat16 and not ops._is_mkldnn_bf16_supported():
        return (OWN,)
    return WAYS if dtype in _CLOSE else (OWN,)


def product(way: str, weight: Tensor) -> Product:
    """x -> x W' + bias, with what can be prepared of the weight prepared.

    Args:
        weight: (out, in).
    """
    if way == OWN:
        return lambda x, bias: F.linear(x, weight, bias)
    return _by_itself(fused(weight))


def fused(weight: Tensor) -> Fused:
    """(x, bias, step, other) -> what ``step`` makes of x W' + bias, by oneDNN.

    Steps are ``none`` and ``swish``; with ``other``, an array like the result, ``mul`` and ``add``.
    """
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
    return _pointwise(packed)


def _pointwise(packed: Tensor) -> Fused:
    linear = torch.ops.mkldnn._linear_pointwise

    def done(x: Tensor, bias: Tensor | None, step: str, other: Tensor | None) -> Tensor:
        if other is None:
            out: Tensor = linear(x, packed, bias, step, [], "")
        else:
            out = linear.binary(x, other, packed, bias, step)
        return out

    return done


def _as_it_lies(weight: Tensor) -> Product:
    """x -> x W' + bias by oneDNN, without a copy of the weight."""
    return _by_itself(_pointwise(weight.detach()))


@torch.inference_mode()
def rates(
    weight: Tensor, ways: Iterable[str], rows: int = _ROWS, *, as_it_lies: bool = False
) -> dict[str, float]:
    """FLOP/s of each way at the product of ``rows`` rows with a weight, the best of several turns.

    Args:
        as_it_lies: without a copy of the weight.

    Ways that this processor cannot run, or that give other numbers, are left out.
    """
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows, weight.shape[1], generator=draw).to(weight.dtype)
    want = F.linear(x, weight)
    taken: dict[str, float] = {}
    products: dict[str, Product] = {}
    for way in ways:
        try:
            open_weight = as_it_lies and way != OWN
            products[way] = _as_it_lies(weight) if open_weight else product(way, weight)
            got = products[way](x, None)
        except (RuntimeError, NotImplementedError):
            continue
        if close_to(got, want):
            taken[way] = float("inf")
    turns, end = 0, time.perf_counter() + _SECONDS * len(taken)
    while time.perf_counter() < end or turns < TURNS:
        turns += 1
        for way in taken:
            start = time.perf_counter()
            products[way](x, None)
            taken[way] = min(taken[way], time.perf_counter() - start)
    flops = 2.0 * rows * weight.numel()
    return {way: flops / seconds for way, seconds in taken.items()}


def close_to(got: Tensor, want: Tensor) -> bool:
    """Whether these are the same sums in another order; rounding grows with their size."""
    close = _CLOSE[want.dtype] * max(1.0, float(want.abs().max()))
    return float((got - want).abs().max()) <= close


def choose(layers: Iterable[nn.Linear]) -> dict[Shape, str]:
    """The fastest way for each shape of layer; torch's own unless another is clearly faster."""
    chosen: dict[Shape, str] = {}
    for layer in layers:
        if _shape(layer) not in chosen:
            chosen[_shape(layer)] = _fastest(layer.weight, _ROWS)
    return chosen


def _fastest(weight: Tensor, rows: int, *, as_it_lies: bool = False) -> str:
    tried = weight.device.type == "cpu" and weight.numel() >= _SMALL
    ways = available(weight.dtype) if tried else (OWN,)
    if len(ways) < 2:
        return OWN
    speed = rates(weight, ways, rows, as_it_lies=as_it_lies)
    best = max(speed, key=speed.__getitem__, default=OWN)
    return best if speed and speed[best] > MARGIN * speed.get(OWN, 0) else OWN


def free_memory() -> int | None:
    """Bytes that this machine can still give, None where it does not say."""
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the weights that `pack` may copy."""
    weights = [layer.weight for layer in linear_layers(model)]
    return sum(weight.numel() * weight.element_size() for weight in weights)


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    """The plain linear layers of a decoder but for its head, which runs at a few rows only."""
    head = getattr(model, "lm_head", None)
    return [m for m in model.modules() if type(m) is nn.Linear and m is not head]


def pack(
    model: nn.Module, ways: Mapping[Shape, str] | None = None, *, back: bool = False
) -> dict[Shape, str]:
    """Put the fastest product under every linear layer of a model but its head.

    The weights must not change from here on.

    Args:
        ways: what was chosen before; shapes that it lacks, or whose way nobody knows, are chosen
            now.
        back: also for gradients of the layers' inputs, at the price of a third copy.

    Returns:
        (out, in) of each shape of layer -> the way that its products go.
    """
    layers = linear_layers(model)
    chosen = {shape: way for shape, way in (ways or {}).items() if way in WAYS}
    chosen |= choose(layer for layer in layers if _shape(layer) not in chosen)
    for layer in layers:
        weight = layer.weight
        if chosen[_shape(layer)] == OWN:
            continue
        try:
            with_more = fused(weight)
            backward = product(ONEDNN, weight.T) if back else None
        except (RuntimeError, NotImplementedError):
            # Chosen on another processor, of which the file that keeps choices was copied.
            chosen[_shape(layer)] = OWN
            continue
        made = Products(_by_itself(with_more), backward, with_more)
        layer.products = made  # type: ignore[assignment]
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    return chosen


def open_head(model: nn.Module, ways: Mapping[Shape, str] | None = None) -> dict[Shape, str]:
    """Put the fastest product without a copy under a model's head, where that is in float32.

    Args:
        ways: as for `pack`.

    Returns:
        (out, in) of the head -> its way; empty where it is no plain layer.
    """
    head = getattr(model, "lm_head", None)
    if type(head) is not nn.Linear or head.weight.dtype != torch.float32 or "forward" in vars(head):
        return {}
    shape = _shape(head)
    way = (ways or {}).get(shape)
    if way not in WAYS:
        way = _fastest(head.weight, _HEAD_ROWS, as_it_lies=True)
    if way != OWN:
        try:
            by_onednn = _as_it_lies(head.weight)
            with torch.inference_mode():
                by_onednn(head.weight.new_zeros(1, shape[1]), None)
        except (RuntimeError, NotImplementedError):
            return {shape: OWN}  # chosen on another processor
        head.products = Products(by_onednn, None)  # type: ignore[assignment]
        head.forward = MethodType(_forward, head)  # type: ignore[method-assign]
    return {shape: way}


@dataclass(frozen=True, slots=True)
class Products:
    """A layer's: (x, bias) -> x W' + bias, and (grad, None) -> grad W where it trains.

    Attributes:
        fused: the first with what comes after it, where the way can do that.
    """

    forward: Product
    backward: Product | None
    fused: Fused | None = None


def _by_itself(with_more: Fused) -> Product:
    return lambda x, bias: with_more(x, bias, "none", None)


def of(layer: nn.Module) -> Products | None:
    """What `pack` put under a layer."""
    packed: Products | None = getattr(layer, "products", None)
    return packed


def _shape(layer: nn.Linear) -> tuple[int, int]:
    return int(layer.weight.shape[0]), int(layer.weight.shape[1])


def _forward(self: Any, x: Tensor) -> Tensor:
    products: Products = self.products
    if x.dtype != self.weight.dtype or torch.is_autocast_enabled(x.device.type):
        return F.linear(x, self.weight, self.bias)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return products.forward(x, self.bias)
    if products.backward is None:
        return F.linear(x, self.weight, self.bias)
    done: Tensor = _Frozen.apply(x, self.bias, products)  # type: ignore[no-untyped-call]
    return done


class _Frozen(torch.autograd.Function):
    """x W' + bias, where neither W nor the bias trains."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, products: Products) -> Tensor:
        ctx.products = products
        return products.forward(x, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.products.backward(grads[0].contiguous(), None), None, None
