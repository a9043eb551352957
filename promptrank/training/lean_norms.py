"""RMS norms for training: same numbers and gradients, half the passes over memory."""

from types import MethodType
from typing import Any

import torch
from torch import nn

from promptrank.engine.lean_layers import inverse_rms

Tensor = torch.Tensor
_CLOSE = 1e-5
_ROWS = 5


def lean_norms(model: nn.Module) -> int:
    """Replace the forwards of a model's frozen RMS norms; returns how many.

    A norm is replaced only where its own forward gives the same numbers on random input.
    """
    return sum(_replace(module) for module in model.modules())


def _replace(module: Any) -> bool:
    weights = [name for name, _ in module.named_parameters()]
    if weights != ["weight"] or not hasattr(module, "variance_epsilon"):
        return False
    if module.weight.requires_grad or "forward" in vars(module):
        return False
    made = torch.Generator().manual_seed(0)
    x = torch.randn(1, _ROWS, len(module.weight), generator=made).to(module.weight)
    with torch.no_grad():
        if not torch.allclose(_forward(module, x), module(x), rtol=_CLOSE, atol=_CLOSE):
            return False
    module.forward = MethodType(_forward, module)
    return True


def _forward(self: Any, hidden_states: Tensor) -> Tensor:
    if hidden_states.dtype != torch.float32:
        theirs: Tensor = type(self).forward(self, hidden_states)
        return theirs
    done: Tensor = _Norm.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
    return done


class _Norm(torch.autograd.Function):
    """w x r, with r = (mean(x^2) + eps)^(-1/2) over the last dimension; w does not train."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = inverse_rms(x, eps)
        ctx.save_for_backward(x, weight, scale)
        done: Tensor = (x * scale).mul_(weight)
        return done

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        inner = grads[0] * weight
        # d/dx of r x: r g - x r^3 (g . x) / width.
        along = torch.linalg.vecdot(inner, x)[..., None].mul_(scale**3).div_(x.shape[-1])
        to_x: Tensor = inner.mul_(scale).addcmul_(x, along, value=-1)
        return to_x, None, None
