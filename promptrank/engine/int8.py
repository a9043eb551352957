"""Linear layers in int8 on a CPU: weights rounded by output channel, inputs by row.

A row of weights, and a row of the input, is a whole number in [-127, 127] times a scale of its own
(symmetric, as in Dettmers et al. 2022, arXiv:2208.07339, without its float part for outliers). The
products of whole numbers are exact sums in int32. Scales of inputs are those of their own row and
not of the batch, so that a score still depends on its own candidate only.

Norms, activations, attention, embeddings and the head stay in float32, and so do adapters, which
are added to what a layer gives.
"""

from types import MethodType
from typing import Any

import torch
from torch import nn

from promptrank.engine.products import Product, Products, linear_layers

Tensor = torch.Tensor
_STEPS = 127


@torch.no_grad()
def quantize(model: nn.Module) -> int:
    """Round the linear layers of a model but its head, for good; returns how many.

    Their weights then are whole numbers: the layers have no gradients, and cannot be merged.
    """
    layers = linear_layers(model)
    for layer in layers:
        whole, scale = rounded(layer.weight)
        layer.weight = nn.Parameter(whole, requires_grad=False)
        layer.products = Products(product(whole, scale[:, 0]), None)  # type: ignore[assignment]
        layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as whole numbers and their scales: (rows, n) int8 and (rows, 1) float32.

    A row with an infinity or NaN gets a scale that is none, so that nothing made of it is a number.
    """
    scale = rows.abs().amax(-1, keepdim=True).div_(_STEPS)
    safe = scale.clamp(min=torch.finfo(scale.dtype).tiny)
    return torch.div(rows, safe).round_().to(torch.int8), scale


def product(whole: Tensor, scale: Tensor) -> Product:
    """x -> x W' + bias.

    Args:
        whole: (out, in) int8.
        scale: (out,).
    """
    columns = whole.T  # as the product wants it: no copy

    def multiply(x: Tensor, bias: Tensor | None) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if not len(rows):
            return x.new_empty(*x.shape[:-1], len(whole))
        inputs, sizes = rounded(rows)
        out = torch.mul(torch._int_mm(inputs, columns), sizes).mul_(scale)
        if bias is not None:
            out.add_(bias)
        return out.view(*x.shape[:-1], len(whole))

    return multiply


def _forward(self: Any, x: Tensor) -> Tensor:
    products: Products = self.products
    return products.forward(x, self.bias)
