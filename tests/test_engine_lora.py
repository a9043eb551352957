"""Lean LoRA layers against peft's own: values, gradients, and what is left to peft."""

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from promptrank.engine.lean_lora import lean


class Two(nn.Module):
    """A layer with a bias, and one without."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 10)
        self.second = nn.Linear(10, 4, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        done: torch.Tensor = self.second(torch.tanh(self.first(x)))
        return done


def wrapped(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=7, target_modules=["first", "second"], **options)
    model: nn.Module = get_peft_model(Two(), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight)
    return model


def both(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    x = x.clone().requires_grad_()
    out = model(x)
    (out * torch.arange(out.numel()).view_as(out)).sum().backward()
    assert x.grad is not None
    grads = {n: w.grad for n, w in model.named_parameters() if w.grad is not None}
    return out.detach(), {**grads, "x": x.grad}


@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6), (1, 0, 6)])
def test_values_and_gradients_are_those_of_peft(shape: tuple[int, ...]) -> None:
    theirs = wrapped()
    ours = copy.deepcopy(theirs)
    assert lean(ours) == 2 and lean(ours) == 0
    x = torch.randn(*shape)
    want, got = both(theirs, x), both(ours, x)
    torch.testing.assert_close(got[0], want[0])
    assert got[1].keys() == want[1].keys() and len(want[1]) == 5
    for name, grad in want[1].items():
        torch.testing.assert_close(got[1][name], grad)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), want[0])


@pytest.mark.parametrize("case", ["off", "merged", "variant", "dropout", "autocast", "half"])
def test_what_is_not_plain_is_left_to_peft(case: str) -> None:
    cases: dict[str, dict[str, Any]] = {
        "variant": {"use_dora": True},
        "dropout": {"lora_dropout": 0.5},
    }
    options = cases.get(case, {})
    theirs: Any = wrapped(**options)
    ours: Any = copy.deepcopy(theirs)
    lean(ours)
    x = torch.randn(4, 6)
    found = []
    for model in (theirs, ours):
        torch.manual_seed(1)
        if case == "merged":
            model.merge_adapter()
        if case == "half":
            for layer in (model.first, model.second):
                layer.base_layer.to(torch.bfloat16)
            x = x.to(torch.bfloat16)
        with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
            if case == "off":
                with model.disable_adapter():
                    found.append(model(x))
            else:
                found.append(model(x))
    assert found[0].dtype == found[1].dtype
    torch.testing.assert_close(found[1], found[0])


def test_in_evaluation_dropout_is_no_reason() -> None:
    theirs = wrapped(lora_dropout=0.5).eval()
    ours = copy.deepcopy(theirs)
    lean(ours)
    x = torch.randn(4, 6)
    torch.testing.assert_close(ours(x), theirs(x))
