"""LoRA layers that add their update in place: fewer passes over memory than peft's, same numbers.

peft computes ``base(x) + lora_B(lora_A(x)) * scaling``: three arrays as wide as the layer, and as
many again on the way back. Here one matrix product adds the update to what the layer gave. The
layers keep their weights, names and parts, so saving, loading and merging stay peft's.
"""

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn
from torch.nn import functional as F

from promptrank.engine import products
from promptrank.engine.products import Products

Tensor = torch.Tensor


def lean(model: nn.Module) -> int:
    """Replace the forwards of a model's LoRA layers; returns how many. A second call does nothing.

    What is not the plain case (several adapters at once, dropout, variants such as DoRA, weights of
    another type than the input, merged weights) goes the way it always went.
    """
    layers = [m for m in model.modules() if type(m) is Linear and "forward" not in vars(m)]
    for module in layers:
        module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
    return len(layers)


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    name = None if args or kwargs else _plain(self, x)
    if name is None:
        theirs: Tensor = Linear.forward(self, x, *args, **kwargs)
        return theirs
    base = self.base_layer
    a, b = self.lora_A[name].weight, self.lora_B[name].weight
    given = (x, base.weight, base.bias, a, b, self.scaling[name], products.of(base))
    done: Tensor = _Lora.apply(*given)  # type: ignore[no-untyped-call]
    return done


def _plain(layer: Any, x: Tensor) -> str | None:
    """The one adapter that is on, where nothing but its product is to be added."""
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return None
    name: str = layer.active_adapters[0]
    if name not in layer.lora_A or name in layer.lora_variant or layer.lora_bias.get(name):
        return None
    if not isinstance(layer.lora_dropout[name], nn.Identity) and layer.training:
        return None
    if type(layer.base_layer) is not nn.Linear or torch.is_autocast_enabled(x.device.type):
        return None
    fits = layer.base_layer.weight.dtype in (x.dtype, torch.int8)
    return name if fits and layer.lora_A[name].weight.dtype == x.dtype else None


class _Lora(torch.autograd.Function):
    """x W' + bias + scale (x A') B', where W does not train."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        packed: Products | None,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ a.T
        out = F.linear(rows, weight, bias) if packed is None else packed.forward(rows, bias)
        out.addmm_(inner, b.T, alpha=scale)
        ctx.save_for_backward(rows, inner, weight, a, b)
        ctx.scale, ctx.shape, ctx.packed = scale, x.shape, packed
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, inner, weight, a, b = ctx.saved_tensors
        grad = grads[0].reshape(-1, weight.shape[0])
        to_inner = (grad @ b).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            back = ctx.packed.backward if ctx.packed is not None else None
            to_x = grad @ weight if back is None else back(grad.contiguous(), None)
            to_x = to_x.addmm_(to_inner, a).view(ctx.shape)
        to_b = (grad.T @ inner).mul_(ctx.scale)
        return to_x, None, None, to_inner.T @ rows, to_b, None, None
