"""Averaged weights: the mean of a run's last checkpoints, as one adapter of the same rank.

Latest weight averaging (Kaddour 2022, https://arxiv.org/abs/2209.14981), after stochastic weight
averaging (Izmailov et al. 2018, https://arxiv.org/abs/1803.05407). What is averaged is what an
adapter adds to a layer, B @ A, and not its factors: mean(B) @ mean(A) also has products of one
checkpoint's B with another's A. The mean of K updates of rank r has a rank of up to K * r; kept is
its best approximation of rank r (Eckart and Young 1936), as peft's ``combination_type="svd"`` makes
it, but from the thin factors, so that no update is ever written out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from promptrank.engine.adapter_tensors import read_adapter_tensors
from promptrank.errors import InputError
from promptrank.training import adapter_model as lora
from promptrank.training import checkpoints, processes
from promptrank.training.validation import together

if TYPE_CHECKING:
    from promptrank.training.settings import Settings
    from promptrank.training.trainer import AdapterTrainer
    from promptrank.training.watch import Say

Tensor = torch.Tensor
_A, _B = ".lora_A.", ".lora_B."


@dataclass(frozen=True, slots=True)
class Averaged:
    """An average that was kept.

    Attributes:
        steps: of the checkpoints that it is the mean of.
        metrics: per task its validation metrics; empty without validation.
    """

    steps: tuple[int, ...]
    metrics: Mapping[str, Mapping[str, float]]


def last_steps(steps: int, every: int, count: int) -> tuple[int, ...]:
    """After which steps the last ``count`` checkpoints of a run of so many steps are written."""
    return (*range(every, steps, every), steps)[-count:]


def check(trainer: "AdapterTrainer", settings: "Settings", start: Path | None) -> None:
    """InputError where the run cannot end with its average.

    Args:
        start: the checkpoint that it goes on from.
    """
    if settings.average is None:
        return
    if trainer.is_fsdp_enabled:
        raise InputError("average: weights are sharded (fsdp); leave out --average")
    if start is None:
        return
    step = checkpoints.step_of(start)
    end = step if checkpoints.is_last(start) else trainer.args.max_steps
    _folders(trainer, [s for s in _last(trainer, settings, end) if s <= step])


def take_average(trainer: "AdapterTrainer", settings: "Settings", say: "Say") -> Averaged | None:
    """Put the mean of the last checkpoints on the model, where it is better than the best of them.

    Without validation nothing is compared, and the mean is taken. Else it is measured as a
    checkpoint is, and where it is not better the model is left as it was. A run that was stopped
    early has its last checkpoints before that stop.

    Returns:
        None where the model is left as it was.

    Raises:
        InputError: a checkpoint that is to be averaged is gone.
    """
    if settings.average is None:
        return None
    model: Any = trainer.model
    steps = _last(trainer, settings, trainer.state.global_step)
    with processes.together():
        files = [
            read_adapter_tensors(folder, trainer.base.config).tensors
            for folder in _folders(trainer, steps)
        ]
        tensors, kept = mean_adapter(files)
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    lora.put_tensors(model, tensors)
    what = f"the mean of steps {', '.join(map(str, steps))}"
    say(f"{what}: an adapter of the same rank holds {kept:.2%} of it")
    best = trainer.state.best_metric
    if trainer.eval_dataset is None or best is None:
        return Averaged(steps, {})
    metrics = trainer.measure()
    value, name = together(metrics)[settings.metric], settings.metric
    better = value > best if trainer.args.greater_is_better else value < best
    say(
        f"{what}: validation {name} {value:.4f}, the best checkpoint {best:.4f}; "
        f"{'the mean' if better else 'the checkpoint'} is kept"
    )
    if better:
        return Averaged(steps, metrics)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key in before:
                weight.copy_(before[key])
    return None


def mean_adapter(adapters: Sequence[Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], float]:
    """The mean of adapters of one shape, by the names of their files, in float32.

    Returns:
        its tensors; and which share of the mean's updates the rank holds, in squares over all
        layers (1 for updates of nothing).
    """
    made: dict[str, Tensor] = {}
    held = whole = 0.0
    for name in (name for name in adapters[0] if _A in name):
        other = name.replace(_A, _B)
        factors = [(tensors[name], tensors[other]) for tensors in adapters]
        made[name], made[other], values = mean_update(factors)
        held += float(values[: len(made[name])].square().sum())
        whole += float(values.square().sum())
    return made, held / whole if whole else 1.0


def mean_update(factors: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of updates B @ A, factored again.

    Args:
        factors: A (rank, inputs) and B (outputs, rank) of each.

    Returns:
        A and B of the same shapes, the singular values shared evenly by both; and all singular
        values of the mean, the largest first.
    """
    rank, inputs = factors[0][0].shape
    outputs = len(factors[0][1])
    tall = torch.cat([a.double() for a, _ in factors]) / len(factors)  # (K rank, inputs)
    wide = torch.cat([b.double() for _, b in factors], dim=1)  # (outputs, K rank)
    left, upper = torch.linalg.qr(wide)
    right, lower = torch.linalg.qr(tall.T)
    u, values, v = torch.linalg.svd(upper @ lower.T, full_matrices=False)
    count = min(rank, len(values))
    columns, rows = left @ u[:, :count], v[:count] @ right.T
    # Singular vectors have a sign to choose: the same each time, also after a last digit's change.
    signs = columns.gather(0, columns.abs().argmax(0, keepdim=True)).sign()
    root = values[:count].sqrt()
    a, b = torch.zeros(rank, inputs), torch.zeros(outputs, rank)
    a[:count] = (signs.T * root[:, None] * rows).float()
    b[:, :count] = (signs * root * columns).float()
    return a, b, values


def _last(trainer: "AdapterTrainer", settings: "Settings", end: int) -> tuple[int, ...]:
    assert settings.average is not None
    return last_steps(end, int(trainer.args.save_steps), settings.average)


def _folders(trainer: "AdapterTrainer", steps: Sequence[int]) -> list[Path]:
    run = Path(str(trainer.args.output_dir))
    folders = [checkpoints.folder_of(run, step) for step in steps]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(
                f"{run}: {folder.name}, one of those to be averaged, is missing or damaged, so the "
                "run cannot end as it would have; start over with --overwrite"
            )
    return folders
