"""Linear layers in int8 on a CPU: weights rounded by output channel, inputs by row.

A row of weights, and a row of the input, is a whole number in [-127, 127] times a scale of its own.
The products of whole numbers are exact sums in int32. Scales of inputs are those of their own row
and not of the batch, so that a score still depends on its own candidate only.

Decoders have a few channels whose inputs are an order of magnitude larger than all others, and a
row with one of them would leave two or three bits to the rest. Those channels are found on some
tokens when a model is opened, and multiplied in float32 beside the others (as in Dettmers et al.
2022, arXiv:2208.07339). Where the rest is still too uneven for 8 bits, as behind a gated
activation, it gets 16: what the first rounding leaves is rounded once more, and multiplied too.

Norms, activations, attention, embeddings and the head stay in float32, and so do adapters, which
are added to what a layer gives.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import nn

from promptrank.engine.products import Product, Products, linear_layers

Tensor = torch.Tensor
_STEPS = 127
_TOKENS = 256
_CHANNELS, _SHARE = 16, 32  # in float32 at most, and one in so many
_UNEVEN = 0.015
"""Of what 8 bits may lose of a layer's inputs, by norm."""


@torch.no_grad()
def quantize(model: Any, longest: int | None) -> int:
    """Round the linear layers of a decoder but its head, for good; returns how many.

    Their weights then are whole numbers: the layers have no gradients, and cannot be merged.

    Args:
        longest: tokens of the longest path that the model takes, if it says.
    """
    layers = linear_layers(model)
    count = min(_TOKENS, longest or _TOKENS)
    peaks: dict[nn.Module, Tensor] = {}
    errors: dict[nn.Module, float] = {}

    def largest(layer: nn.Module, rows: Tensor) -> None:
        peaks[layer] = rows.abs().amax(0)

    def error(layer: nn.Module, rows: Tensor) -> None:
        rest = rows.index_fill(1, wide[layer], 0.0)
        whole, scale = rounded(rest)
        errors[layer] = float((rest - whole * scale).norm() / rows.norm())

    _watch(model, layers, count, largest)
    layers = [layer for layer in layers if layer in peaks]  # not those for pictures
    wide: dict[nn.Module, Tensor] = {
        layer: peaks[layer].topk(channels(layer.in_features)).indices.sort().values
        for layer in layers
    }
    _watch(model, layers, count, error)
    for layer in layers:
        own = wide[layer]
        whole, scale = rounded(layer.weight.index_fill(1, own, 0.0))
        twice = not errors[layer] <= _UNEVEN
        multiply = product(whole, scale[:, 0], own, layer.weight[:, own], twice)
        layer.weight = nn.Parameter(whole, requires_grad=False)
        layer.products = Products(multiply, None)  # type: ignore[assignment]
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def channels(inner: int) -> int:
    """How many of a layer's inputs stay in float32."""
    return min(_CHANNELS, inner // _SHARE)


def _watch(
    model: Any, layers: list[nn.Linear], count: int, see: Callable[[nn.Module, Tensor], None]
) -> None:
    """Show the inputs of each layer, (rows, in), on some tokens, the same ones each time."""
    hooks = [
        layer.register_forward_pre_hook(lambda own, given: see(own, given[0].flatten(0, -2)))
        for layer in layers
    ]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(model.get_input_embeddings().num_embeddings, (1, count), generator=draw)
    try:
        model(input_ids=ids, use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()


def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as whole numbers and their scales: (rows, n) int8 and (rows, 1) float32.

    A row with an infinity or NaN gets a scale that is none, so that nothing made of it is a number.
    """
    scale = rows.abs().amax(-1, keepdim=True).div_(_STEPS)
    safe = scale.clamp(min=torch.finfo(scale.dtype).tiny)
    return torch.div(rows, safe).round_().to(torch.int8), scale


def product(
    whole: Tensor, scale: Tensor, wide: Tensor, weight: Tensor, twice: bool = False
) -> Product:
    """x -> x W' + bias.

    Args:
        whole: (out, in) int8, 0 in the channels of ``wide``.
        scale: (out,).
        wide: (n,) channels of the input that are multiplied in float32, by ``weight``, (out, n).
        twice: inputs have 16 bits.
    """
    columns, beside = whole.T, weight.T.contiguous()  # `columns` as the product wants it: no copy

    def multiply(x: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if not len(rows):
            return x.new_empty(*x.shape[:-1], len(whole))
        rest = rows.index_fill(1, wide, 0.0)
        inputs, sizes = rounded(rest)
        out = torch.mul(torch._int_mm(inputs, columns), sizes)
        if twice:
            inputs, sizes = rounded(rest.addcmul_(inputs, sizes, value=-1))
            out.addcmul_(torch._int_mm(inputs, columns), sizes)
        out.mul_(scale)
        out.addmm_(rows[:, wide], beside)
        if bias is not None:
            out.add_(bias)
        return out.view(*x.shape[:-1], len(whole))

    return multiply


def _forward(self: Any, x: Tensor) -> Tensor:
    products: Products = self.products
    return products.forward(x, self.bias)
