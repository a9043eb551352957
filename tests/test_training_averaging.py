"""Averaged weights: the mean of updates, and what a run makes of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from promptrank.adapters.card import read_card
from promptrank.errors import InputError
from promptrank.training.averaging import last_steps, mean_adapter, mean_update
from promptrank.training.settings import Settings
from promptrank.training.trainer import AdapterTrainer
from support.runs import QUICK, apart, killed_before_saving, run, weights_of

AVERAGED = replace(QUICK, average=2, valid=0)


def update(tensors: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return tensors[name.replace("lora_A", "lora_B")].double() @ tensors[name].double()


def test_a_mean_by_hand() -> None:
    """Updates of rank 1, diag(4, 0) and diag(0, 2): their mean is diag(2, 1), kept is diag(2, 0).

    The mean of the factors would be [[1, .5], [1, .5]]: it has what no checkpoint has.
    """
    first = (torch.tensor([[2.0, 0.0]]), torch.tensor([[2.0], [0.0]]))
    second = (torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0], [2.0]]))
    a, b, values = mean_update([first, second])
    assert (b @ a).tolist() == [[pytest.approx(2.0), 0.0], [0.0, 0.0]]
    assert values.tolist() == pytest.approx([2.0, 1.0])
    _, kept = mean_adapter([{"x.lora_A.w": f[0], "x.lora_B.w": f[1]} for f in (first, second)])
    assert kept == pytest.approx(4 / 5)


@pytest.mark.parametrize(("outputs", "inputs", "rank"), [(7, 9, 2), (2, 9, 4), (5, 3, 2)])
def test_it_is_the_best_of_its_rank_however_factors_are_turned(
    outputs: int, inputs: int, rank: int
) -> None:
    draw = torch.Generator().manual_seed(0)
    factors = [
        (torch.randn(rank, inputs, generator=draw), torch.randn(outputs, rank, generator=draw))
        for _ in range(3)
    ]
    u, s, v = torch.linalg.svd(torch.stack([b @ a for a, b in factors]).mean(0))
    count = min(rank, len(s))
    best = u[:, :count] * s[:count] @ v[:count]
    a, b, _ = mean_update(factors)
    assert (a.shape, b.shape) == ((rank, inputs), (outputs, rank))
    assert torch.allclose(b @ a, best, atol=1e-5)
    # The same update from other factors: each checkpoint's turned in a way of its own.
    turned = []
    for a, b in factors:
        turn = torch.randn(rank, rank, generator=draw)
        turned.append((torch.linalg.solve(turn, a), b @ turn))
    a, b, _ = mean_update(turned)
    assert torch.allclose(b @ a, best, atol=1e-4)


def test_a_fresh_adapter_stays_nothing() -> None:
    a, b, _ = mean_update([(torch.ones(2, 3), torch.zeros(4, 2))] * 2)
    assert not b.any() and torch.isfinite(a).all()


def test_which_checkpoints() -> None:
    assert last_steps(6, 2, 2) == (4, 6)
    assert last_steps(7, 3, 2) == (6, 7)
    assert last_steps(7, 3, 3) == (3, 6, 7)
    assert last_steps(4, 4, 3) == (4,)  # stopped early


@pytest.mark.slow
def test_a_run_saves_the_mean_and_a_stopped_one_the_same(toys: Path) -> None:
    with killed_before_saving():
        run(toys, "cut", training=AVERAGED)
    folder = toys / "adapters" / ".cut.run"
    files = [weights_of(folder / f"checkpoint-{step}") for step in (4, 6)]
    said: list[str] = []
    done = run(toys, "cut", training=AVERAGED, resume=True, say=said.append)
    assert done.averaged == (4, 6)
    assert any(line.startswith("the mean of steps 4, 6: an adapter of the same") for line in said)
    saved = weights_of(done.path)
    names = [name for name in saved if "lora_A" in name]
    assert len(names) == 14
    for name in names:
        mean = sum((update(tensors, name) for tensors in files), torch.zeros(())) / 2
        # What rank 8 of 16 leaves out is small, since both are of one run; halves would not be.
        assert (update(saved, name) - mean).norm() < 0.2 * mean.norm()
        assert (update(files[0], name) - mean).norm() > 2 * (update(saved, name) - mean).norm()
    card = read_card(done.path)
    assert card is not None
    assert (card.training["average"], card.training["averaged"]) == (2, [4, 6])
    unbroken = run(toys, "whole", training=AVERAGED)
    assert apart(unbroken.path, done.path) <= 1e-5


@pytest.mark.slow
def test_a_mean_that_is_not_better_is_not_kept(toys: Path) -> None:
    """At a rate of nothing all checkpoints are alike, and so is their mean."""
    training = replace(QUICK, lr=1e-12, valid=4)
    plain = run(toys, "plain", training=training)
    said: list[str] = []
    done = run(toys, "mean", training=replace(training, average=3), say=said.append)
    assert done.averaged == () and done.best == plain.best
    assert apart(plain.path, done.path) == 0
    assert any(line.endswith("the checkpoint is kept") for line in said)


@pytest.mark.slow
def test_a_mean_that_is_better_is_kept_with_its_metrics(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = AdapterTrainer.evaluate

    def worse(*given: Any, **more: Any) -> dict[str, float]:
        metrics = plain(*given, **more)
        return metrics | {"eval_ndcg@10": metrics["eval_ndcg@10"] - 1}

    monkeypatch.setattr(AdapterTrainer, "evaluate", worse)
    done = run(toys, training=replace(AVERAGED, valid=4))
    assert done.averaged == (4, 6)
    card = read_card(done.path)
    assert card is not None and card.tasks["toys/like"].after == done.after["toys/like"]
    assert 0 <= done.after["toys/like"]["ndcg@10"] <= 1  # that of the mean, not of a checkpoint


@pytest.mark.long
@pytest.mark.parametrize(
    ("training", "message"),
    [
        (replace(AVERAGED, average=4), "average: 4 checkpoints, and a run of 6 steps.* has 3"),
        (None, "average: at least 2 checkpoints"),
    ],
)
def test_what_cannot_be_averaged(toys: Path, training: Settings | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(toys, training=training or replace(AVERAGED, average=1))


@pytest.mark.slow
def test_a_checkpoint_that_is_gone_is_told_before_the_rest_is_trained(toys: Path) -> None:
    with killed_before_saving():
        run(toys, training=AVERAGED)
    folder = toys / "adapters" / ".a.run"
    (folder / "checkpoint-4" / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="checkpoint-4, one of those to be averaged, is missing"):
        run(toys, training=AVERAGED, resume=True)
