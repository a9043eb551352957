"""Lean norms against transformers' own: values and gradients."""

import copy
from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from promptrank.training.lean_norms import _Norm, lean_norms


def norm() -> LlamaRMSNorm:
    torch.manual_seed(0)
    made = LlamaRMSNorm(7, eps=1e-3)
    torch.nn.init.normal_(made.weight)
    made.requires_grad_(False)
    return made


def test_values_and_gradients_are_those_of_transformers() -> None:
    theirs = norm()
    ours = copy.deepcopy(theirs)
    assert lean_norms(ours) == 1 and lean_norms(ours) == 0
    results = []
    for model in (theirs, ours):
        x = torch.linspace(-1, 2, 42).view(2, 3, 7).requires_grad_()
        out = model(x)
        (out * torch.arange(42).view_as(out)).sum().backward()
        assert x.grad is not None
        results.append((out.detach(), x.grad))
    torch.testing.assert_close(results[1], results[0])


def test_gradient_against_differences() -> None:
    ours = norm().double()
    x = torch.linspace(-1, 2, 14, dtype=torch.float64).view(2, 7).requires_grad_()
    apply: Any = _Norm.apply
    assert torch.autograd.gradcheck(lambda t: apply(t, ours.weight, 1e-3), (x,))


@pytest.mark.parametrize("case", ["it trains", "another formula"])
def test_other_norms_stay(case: str) -> None:
    made = norm()
    if case == "it trains":
        made.requires_grad_(True)
    else:
        made.variance_epsilon = 5.0

        class Odd(LlamaRMSNorm):
            def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
                return hidden_states * self.weight

        made.__class__ = Odd
    assert lean_norms(made) == 0


def test_other_types_go_the_old_way() -> None:
    theirs = norm()
    ours = copy.deepcopy(theirs)
    lean_norms(ours)
    x = torch.linspace(-1, 2, 14, dtype=torch.bfloat16).view(2, 7)
    assert ours(x).dtype == theirs(x).dtype
    assert torch.equal(ours(x), theirs(x))
