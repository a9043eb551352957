"""Products of linear layers: every way gives the same numbers, and what is chosen can be had."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F

from promptrank.engine import fused, products
from promptrank.engine.lean_lora import lean
from promptrank.engine.packed import open_packed
from promptrank.engine.probe import _flat, _trees
from promptrank.engine.products import ONEDNN, OWN, pack
from promptrank.runtime import kept_ways as kept
from support.engines import VOCAB, adapter, llama, saved

pytestmark = pytest.mark.skipif(
    ONEDNN not in products.available(torch.float32), reason="this torch has no oneDNN"
)


def packed(model: nn.Module, **options: Any) -> dict[products.Shape, str]:
    """Packed in each layer, whatever is fastest here."""
    ways: dict[products.Shape, str] = {
        products._shape(layer): ONEDNN for layer in products.linear_layers(model)
    }
    return pack(model, ways, **options)


def layer(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 40, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(24,), (3, 24), (2, 5, 24)])
def test_a_packed_product_is_the_product(bias: bool, shape: tuple[int, ...]) -> None:
    made = layer(bias)
    x = torch.randn(*shape)
    want = made(x)
    assert packed(nn.Sequential(made)) == {(40, 24): ONEDNN}
    assert products.of(made) is not None
    assert products.weight_bytes(nn.Sequential(made)) == 24 * 40 * 4
    assert torch.allclose(made(x), want, atol=1e-5)
    assert made(x).shape == want.shape


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("step", ["swish", "mul", "add"])
@torch.inference_mode()
def test_what_comes_after_a_product_is_the_same_within_it(bias: bool, step: str) -> None:
    x, other, made = torch.randn(2, 5, 24), torch.randn(2, 5, 40), layer(bias)

    def ours() -> torch.Tensor:
        if step == "swish":
            return fused.silu(made, x)
        return (fused.times if step == "mul" else fused.plus)(made, x, other.clone())

    want = {"swish": F.silu(made(x)), "mul": made(x) * other, "add": made(x) + other}[step]
    assert torch.allclose(ours(), want, atol=1e-5)  # as a pass of its own
    packed(nn.Sequential(made))
    kept, steps = products.of(made), list[str]()
    assert kept is not None and kept.fused is not None
    whole = kept.fused

    def told(*given: Any) -> torch.Tensor:
        steps.append(given[2])
        return whole(*given)

    made.products = replace(kept, fused=told)  # type: ignore[assignment]
    assert torch.allclose(ours(), want, atol=1e-5)
    assert steps == [step]


def test_gradients_of_a_packed_layer_are_those_of_the_layer() -> None:
    made = layer()
    x = torch.randn(7, 24, requires_grad=True)
    made(x).square().sum().backward()
    want = x.grad
    for back in (True, False):
        packed(nn.Sequential(made), back=back)
        again = x.detach().clone().requires_grad_()
        made(again).square().sum().backward()
        assert want is not None and again.grad is not None
        assert torch.allclose(again.grad, want, atol=1e-4)


def test_an_adapter_on_packed_layers_scores_and_learns_as_before() -> None:
    def made(change: Callable[[nn.Module], object]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        torch.manual_seed(1)
        inner = nn.Sequential(nn.Linear(24, 40), nn.Linear(40, 24)).requires_grad_(False)
        change(inner)
        config = LoraConfig(r=3, lora_alpha=7, target_modules=["0", "1"], init_lora_weights=False)
        torch.manual_seed(2)
        model = get_peft_model(inner, config)
        lean(model)
        x = torch.randn(9, 24, generator=torch.Generator().manual_seed(3))
        out = model(x)
        out.square().sum().backward()
        return out, [w.grad for w in model.parameters() if w.grad is not None]

    (want, slopes), (got, again) = made(lambda _: None), made(lambda m: packed(m, back=True))
    assert torch.allclose(got, want, atol=1e-4)
    assert len(slopes) == len(again) == 4
    for a, b in zip(slopes, again, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.long
def test_a_packed_model_scores_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_SMALL", 0)
    path = saved(llama(), tmp_path / "base")
    tuned = str(adapter(llama(), tmp_path / "tuned", seed=3))
    shapes = {products._shape(m) for m in products.linear_layers(llama())}
    engines = [open_packed(path, ways=dict.fromkeys(shapes, way)) for way in (OWN, ONEDNN)]
    assert engines[1].ways.items() >= dict.fromkeys(shapes, ONEDNN).items()
    for name in (None, tuned, None):
        asked = [replace(tree, adapter=name) for tree in _trees(40, VOCAB)]
        want, got = (_flat(engine.score(asked)) for engine in engines)
        assert want
        assert got == pytest.approx(want, abs=1e-4)


@pytest.mark.long
def test_a_packed_model_runs_what_comes_after_within_its_products(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_SMALL", 0)
    path, steps, real = saved(llama(), tmp_path), list[str](), fused._fused

    def told(layer: Any, x: torch.Tensor, step: str, other: Any) -> torch.Tensor | None:
        done = real(layer, x, step, other)
        steps.extend([step] if done is not None else [])
        return done

    monkeypatch.setattr(fused, "_fused", told)
    shapes = {products._shape(m) for m in products.linear_layers(llama())}
    engine = open_packed(path, ways=dict.fromkeys(shapes, ONEDNN))
    assert all(_flat(engine.score(_trees(40, VOCAB))))
    # Of each layer: the activation, the gate, and two sums with the residual.
    assert steps.count("swish") == steps.count("mul") > 0
    assert steps.count("add") == 2 * steps.count("mul")


@pytest.mark.long
def test_a_head_is_taken_as_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, head = saved(llama(), tmp_path), (VOCAB, 32)
    scores = []
    for way in (OWN, ONEDNN):
        engine = open_packed(path, ways={head: way})
        assert engine.ways[head] == way
        linear = engine._model().base.lm_head
        assert (products.of(linear) is not None) == (way == ONEDNN)
        scores.append(_flat(engine.score(_trees(40, VOCAB))))
        x = torch.randn(3, 32, requires_grad=True)
        linear(x).sum().backward()  # a gradient goes torch's way
        assert x.grad is not None
        assert torch.allclose(x.grad, linear.weight.sum(0).expand(3, 32), atol=1e-4)
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert scores[0]
    # One that was chosen where oneDNN runs, where it does not.
    model: Any = llama()

    def broken(weight: torch.Tensor) -> products.Product:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(products, "_as_it_lies", broken)
    assert products.open_head(model, {head: ONEDNN}) == {head: OWN}
    monkeypatch.setattr(products, "_SMALL", 0)
    assert products.open_head(model) == {head: OWN}
    assert products.open_head(llama().bfloat16()) == {}


def test_what_gives_other_numbers_or_cannot_run_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "_SMALL", 0)
    real = products.product

    def wrong(way: str, weight: torch.Tensor) -> products.Product:
        return real(way, weight) if way == OWN else lambda x, _: F.linear(x, weight) + 1

    def broken(weight: torch.Tensor) -> products.Fused:
        raise RuntimeError("no such instruction")

    with monkeypatch.context() as patch:
        patch.setattr(products, "product", wrong)
        assert products.choose([layer()]) == {(40, 24): OWN}
    monkeypatch.setattr(products, "fused", broken)
    assert products.choose([layer()]) == {(40, 24): OWN}
    # A choice kept on another processor.
    made = layer()
    x = torch.randn(3, 24)
    want = made(x)
    assert packed(nn.Sequential(made)) == {(40, 24): OWN}
    assert torch.equal(made(x), want)
    # A way that only another version knows.
    assert pack(nn.Sequential(made), {(40, 24): "quantum"}) == {(40, 24): OWN}


@pytest.mark.long
def test_a_copy_that_would_not_fit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(llama(), tmp_path)
    monkeypatch.setattr("promptrank.engine.packed.free_memory", lambda: 1000)
    engine = open_packed(path)
    assert set(engine.ways) == {(2, 2, 8), (VOCAB, 32)}  # attention and head need no copy
    assert "weights are not packed" in engine.info.notes[0]
    assert not open_packed(path, pack_weights=False).info.notes


def test_choices_are_kept_by_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path))
    assert kept.kept_ways("float32") == {}
    kept.keep_ways("float32", {(40, 24): ONEDNN})
    kept.keep_ways("float32", {(24, 40): OWN})
    assert kept.kept_ways("float32") == {(40, 24): ONEDNN, (24, 40): OWN}
    assert kept.kept_ways("bfloat16") == {}
    monkeypatch.setattr(kept, "processor", lambda: "another one")
    assert kept.kept_ways("float32") == {}
    (tmp_path / "products.json").write_text("[[[")
    assert kept.kept_ways("float32") == {}
