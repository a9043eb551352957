"""transformers.Trainer with our batches, loss and validation; the rest of it stays theirs."""

import errno
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from promptrank.errors import InputError, ModelError
from promptrank.training import checkpoints, objective
from promptrank.training.collate import Batch
from promptrank.training.settings import Settings
from promptrank.training.validation import Slice, engine_over, measure, together

Tensor = torch.Tensor
Progress = Callable[[int, int | None], None]
Say = Callable[[str], None]
_PREFIX = "eval"


class Draws(torch.utils.data.Sampler[int]):
    """Which examples an epoch takes, tasks in proportion to size ** (1 / temperature).

    An epoch has as many draws as there are examples. A task that gets more draws than it has
    examples goes through all of them again; one that gets fewer takes others each epoch.
    """

    def __init__(self, sizes: Sequence[int], temperature: float, seed: int) -> None:
        self._sizes, self._seed, self._epoch = sizes, seed, 0
        total = sum(sizes)
        wanted = [size ** (1 / temperature) for size in sizes]
        self.draws = [round(total * w / sum(wanted)) for w in wanted]
        self.draws[self.draws.index(max(self.draws))] += total - sum(self.draws)

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate; the same epoch gives the same order."""
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(self.draws)

    def __iter__(self) -> Iterator[int]:
        made = torch.Generator().manual_seed(self._seed * 100_003 + self._epoch)
        chosen: list[int] = []
        start = 0
        for size, count in zip(self._sizes, self.draws, strict=True):
            while count > 0:
                order = torch.randperm(size, generator=made)[:count]
                chosen += (order + start).tolist()
                count -= len(order)
            start += size
        order = torch.randperm(len(chosen), generator=made)
        return iter([chosen[i] for i in order.tolist()])


class AdapterTrainer(Trainer):
    """Trains the adapter on examples; the loss is divided by what the whole step counts."""

    def __init__(
        self, settings: Settings, sizes: Sequence[int], slices: Sequence[Slice], **kwargs: Any
    ) -> None:
        # Ours is divided by the step's own counts, so it must not be divided again.
        self.loss_is_scaled_for_ga = True
        self._settings, self._sizes, self._slices = settings, sizes, slices
        self.measured: dict[int, dict[str, dict[str, float]]] = {}  # by step, of this process
        super().__init__(**kwargs)

    # -- data --------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Draws:
        return Draws(self._sizes, self._settings.temperature, self._settings.seed)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The step's forwards, and what its losses are divided by, over all processes."""
        found: list[Any] = []
        for _ in range(num_batches):
            try:
                found.append(next(epoch_iterator))
            except StopIteration:
                break
        sums = sum((objective.counts_of(f["batch"]).as_tensor() for f in found), torch.zeros(4))
        if self.args.world_size > 1:
            sums = self.accelerator.gather(sums[None].to(device)).sum(0)
        return found, sums

    # -- loss --------------------------------------------------------------------------------

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Tensor:
        """The step's share of the loss; a mean over processes, as their gradients are averaged."""
        batch: Batch = inputs["batch"].to(self.args.device)
        counts = objective.Counts(*num_items_in_batch.tolist())
        share = self._settings.prompt_weight
        with objective.last_hidden(self._base(), wanted=share > 0) as hidden:
            logprobs = objective.answer_logprobs(model, batch)
        loss = objective.answers_total(logprobs, batch, self._settings.losses, counts)
        loss = (1 - share) * loss
        if share:
            head = self._base().get_output_embeddings()
            loss = loss + share * objective.prompt_total(head, hidden[0], batch, counts)
        if not math.isfinite(float(loss.detach())):
            raise ModelError(
                f"step {self.state.global_step + 1}: the loss is {float(loss.detach())}; nothing "
                "was saved from it. Lower --lr, or train in float32; --resume goes on from the "
                "last checkpoint"
            )
        whole: Tensor = loss * self.args.world_size
        return whole

    def _base(self) -> Any:
        return self.accelerator.unwrap_model(self.model).get_base_model()

    def floating_point_ops(self, inputs: Any) -> int:
        """2 x parameters for each token forward, and as much back (the weights do not train)."""
        tokens = int(inputs["batch"].tokens)
        weights = sum(int(p.numel()) for p in self._base().parameters())
        return 4 * tokens * weights

    # -- validation --------------------------------------------------------------------------

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = _PREFIX,
    ) -> dict[str, float]:
        """Metrics of every slice, as rankings; the mean over tasks decides what is best."""
        found = self.measured[self.state.global_step] = self.measure()
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in together(found).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def measure(self) -> dict[str, dict[str, float]]:
        """Metrics by task, of the model as it is."""
        base = self._base()
        base.eval()
        longest = max(part.encoder.limit for part in self._slices)
        engine = engine_over(base, longest)
        return {part.name: measure(engine, part) for part in self._slices}

    # -- checkpoints -------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The adapter alone; no pickled arguments."""
        assert output_dir is not None
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(output_dir, state_dict=state_dict)  # type: ignore[union-attr, operator]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        name = f"checkpoint-{self.state.global_step}"
        folder = Path(str(self.args.output_dir)) / name
        try:
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                checkpoints.mark(folder)
        except (OSError, RuntimeError, SafetensorError) as error:
            if not _full(error):
                raise
            shutil.rmtree(folder, ignore_errors=True)
            raise InputError(
                f"{folder.parent}: {name} could not be written ({error}); free some space, then "
                "--resume goes on from the checkpoint before it"
            ) from error


def _full(error: Exception) -> bool:
    """Whether a write failed for want of space; torch and safetensors wrap the system's error."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    text = str(error).lower()
    words = ("no space", "file too large", "unexpected pos", "file write failed", "quota")
    return any(word in text for word in words)


class Watch(TrainerCallback):
    """Progress, and one line for every validation."""

    def __init__(self, say: Say, progress: Progress, validate: bool) -> None:
        self._say, self._progress, self._validate = say, progress, validate

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Where a resumed run stands."""
        self._progress(state.global_step, state.max_steps)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """One step more; the last one is validated and kept wherever it falls."""
        self._progress(state.global_step, state.max_steps)
        if state.global_step >= state.max_steps:
            control.should_evaluate, control.should_save = self._validate, True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Losses and metrics."""
        shown = {
            name.removeprefix(f"{_PREFIX}_"): value
            for name, value in (logs or {}).items()
            if name == "loss" or name.startswith(_PREFIX)
        }
        if shown and state.is_world_process_zero:
            what = "validation" if "loss" not in (logs or {}) else "training"
            numbers = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
            self._say(f"step {state.global_step}: {what} {numbers}")
