"""Products of linear layers with what comes right after them: one pass over memory less each.

oneDNN applies an activation, or the product or sum with another array, while a product's results
are still in the processor's cache. Layers whose products go another way, and those under an adapter
that is on, are followed by the same step as a pass of its own. For inference.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from promptrank.engine import products

Tensor = torch.Tensor


def silu(layer: nn.Module, x: Tensor) -> Tensor:
    """silu(layer(x))."""
    done = _fused(layer, x, "swish", None)
    return F.silu(layer(x), inplace=True) if done is None else done


def times(layer: nn.Module, x: Tensor, other: Tensor) -> Tensor:
    """layer(x) * other; ``other`` is used up."""
    done = _fused(layer, x, "mul", other)
    return other.mul_(layer(x)) if done is None else done


def plus(layer: nn.Module, x: Tensor, other: Tensor) -> Tensor:
    """layer(x) + other."""
    done = _fused(layer, x, "add", other)
    if done is None:
        done = layer(x)
        done.add_(other)
    return done


def _fused(layer: Any, x: Tensor, step: str, other: Tensor | None) -> Tensor | None:
    """None where the layer's product does not go by oneDNN alone."""
    if getattr(layer, "disable_adapters", False) and not layer.merged:
        layer = layer.base_layer  # peft's wrapper, which adds nothing now
    packed = products.of(layer)
    if packed is None or packed.fused is None or x.dtype != layer.weight.dtype:
        return None
    if torch.is_autocast_enabled(x.device.type):
        return None
    return packed.fused(x, layer.bias, step, other)
