"""transformers.Trainer with our batches, loss and validation; the rest of it stays theirs."""

import errno
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainerState

from promptrank.errors import InputError, ModelError
from promptrank.evaluation.report import Report
from promptrank.training import checkpoints, objective, processes
from promptrank.training.collate import Batch
from promptrank.training.sampler import Draws
from promptrank.training.settings import Settings
from promptrank.training.validation import Slice, engine_over, measure, together
from promptrank.training.watch import PREFIX

Tensor = torch.Tensor


class AdapterTrainer(Trainer):
    """Trains the adapter on examples; the loss is divided by what the whole step counts."""

    def __init__(
        self,
        settings: Settings,
        sizes: Sequence[int],
        slices: Sequence[Slice],
        longest_packed: int | None,
        flex: bool = False,
        **kwargs: Any,
    ) -> None:
        # Ours is divided by the step's own counts, so it must not be divided again.
        self.loss_is_scaled_for_ga = True
        self._settings, self._sizes, self._slices, self._flex = settings, sizes, slices, flex
        self._longest_packed = longest_packed  # see `validation.engine_over`
        self.measured: dict[int, dict[str, dict[str, float]]] = {}  # by step, since the start
        self.reports: dict[str, Report] = {}  # by task, of the latest measurement
        self._taken_up = False  # trained before: the model was never handed to FSDP
        self._unsaved: Exception | None = None  # what kept the weights from being written
        super().__init__(**kwargs)

    # -- data --------------------------------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> Draws:
        world = self.args.world_size
        multiple = world * self.args.per_device_train_batch_size if world > 1 else 1
        return Draws(self._sizes, self._settings.temperature, self._settings.seed, multiple)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The step's forwards, and what its losses are divided by, over all processes."""
        forwards: list[Any] = []
        for _ in range(num_batches):
            try:
                forwards.append(next(epoch_iterator))
            except StopIteration:
                break
        sums = sum((objective.counts_of(f["batch"]).as_tensor() for f in forwards), torch.zeros(4))
        if self.args.world_size > 1:
            sums = self.accelerator.gather(sums[None].to(device)).sum(0)
        if rows := self._settings.prompt_rows:
            place = f"{self._settings.seed} {self.state.global_step} {self.args.process_index}"
            for number, forward in enumerate(forwards):
                forward["batch"] = objective.thinned(forward["batch"], rows, f"{place} {number}")
        return forwards, sums

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
        counts = objective.LossCounts(*num_items_in_batch.tolist())
        share = self._settings.prompt_weight
        with objective.prompt_loss(self.base, batch, counts, wanted=share > 0) as prompts:
            logprobs = objective.answer_logprobs(model, batch)
        loss = objective.answers_total(logprobs, batch, self._settings.losses, counts)
        loss = (1 - share) * loss
        if share:
            loss = loss + share * prompts[0]
        self._check_finite(loss.detach())
        whole: Tensor = loss * self.args.world_size
        return whole

    def _check_finite(self, loss: Tensor) -> None:
        # Of all processes: one that went on alone would wait for the others for ever.
        worst = self.accelerator.gather(loss[None]).sum() if self.args.world_size > 1 else loss
        if not math.isfinite(float(worst)):
            raise ModelError(
                f"step {self.state.global_step + 1}: the loss is {float(worst)}; nothing was saved "
                "from it. Lower --lr, or train in float32, and start over with --overwrite"
            )

    @property
    def base(self) -> Any:
        """The base model, its layers wrapped by peft."""
        return self.accelerator.unwrap_model(self.model).get_base_model()

    def floating_point_ops(self, inputs: Any) -> int:
        """2 x parameters for each token forward, and as much back (the weights do not train)."""
        tokens = int(inputs["batch"].tokens)
        weights = sum(int(p.numel()) for p in self.base.parameters())
        return 4 * tokens * weights

    # -- validation --------------------------------------------------------------------------

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = PREFIX,
    ) -> dict[str, float]:
        """Metrics of every slice, as rankings; the mean over tasks decides what is best."""
        measured = self.measured[self.state.global_step] = self.measure()
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in together(measured).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def measure(self, draws: int = 0) -> dict[str, dict[str, float]]:
        """Metrics by task, of the model as it is; all processes go by what the first one finds.

        Args:
            draws: bootstrap draws, for the intervals of the reports that are kept.
        """
        metrics: dict[str, dict[str, float]] = {}
        with processes.together(), _gathered(self.model):
            # Where weights are sharded over processes, no forward is one process's own.
            if processes.is_first() or self.is_fsdp_enabled:
                base = self.base
                base.eval()
                longest = max(part.encoder.limit for part in self._slices)
                engine = engine_over(base, longest, self._longest_packed, self._flex)
                for part in self._slices:
                    metrics[part.name], self.reports[part.name] = measure(engine, part, draws)
        return processes.from_first(metrics)

    # -- checkpoints -------------------------------------------------------------------------

    def whole_state(self) -> dict[str, Tensor] | None:
        """The weights where they are sharded over processes; else None.

        All processes must call it.
        """
        if not self.is_fsdp_enabled or self._taken_up:
            return None
        model: Any = self.model
        second: bool = isinstance(model, FSDPModule)
        if not second:  # the first version of FSDP, whose weights are pieces of one flat tensor
            older: dict[str, Tensor] = self.accelerator.get_state_dict(self.model)
            return older
        weights: dict[str, Tensor] = {}
        for name, weight in model.named_parameters():
            if "lora_" in name:
                own = weight.detach()
                weights[name] = (own.full_tensor() if isinstance(own, DTensor) else own).cpu()
        return weights

    def take_up(self, folder: Path) -> None:
        """State and weights of a run whose training had ended at this checkpoint."""
        self.state = TrainerState.load_from_json(str(folder / "trainer_state.json"))
        self._load_from_checkpoint(str(checkpoints.best_of(folder) or folder))
        self._taken_up = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The adapter; its base is never gathered for it."""
        state = self.whole_state()
        if state is None:
            super().save_model(output_dir, _internal_call)
        elif self.args.should_save:
            self._save(output_dir, state)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The adapter alone; no pickled arguments."""
        assert output_dir is not None
        try:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            # "auto" would ask the hub whether the base's vocabulary has grown.
            self.model.save_pretrained(  # type: ignore[union-attr, operator]
                output_dir, state_dict=state_dict, save_embedding_layers=False
            )
        except (OSError, RuntimeError, SafetensorError) as error:
            if self.args.world_size == 1:
                raise
            # The other processes are on their way to a barrier, and wait there for this one.
            self._unsaved = error

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
        try:
            with processes.together(), writing(folder):
                super()._save_checkpoint(model, trial)
                if self._unsaved is not None:
                    raise self._unsaved
            # Only now have all processes written their part.
            with processes.together(), writing(folder):
                if self.args.should_save:
                    checkpoints.mark(folder)
        except InputError:
            if self.args.should_save:
                shutil.rmtree(folder, ignore_errors=True)
            raise


@contextmanager
def _gathered(model: Any) -> Iterator[None]:
    """What FSDP shards outside the layers is whole inside: validation calls the base in the model,
    and only the model's own forward would gather it."""
    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A full disk as one message."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not _full(error):
            raise
        raise InputError(
            f"{folder.parent}: {folder.name} could not be written ({error}); free some space, then "
            "--resume goes on from the checkpoint before it"
        ) from error


def _full(error: Exception) -> bool:
    """Whether a write failed for want of space; torch and safetensors wrap the system's error."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    text = str(error).lower()
    words = ("no space", "file too large", "unexpected pos", "file write failed", "quota")
    return any(word in text for word in words)
