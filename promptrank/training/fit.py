"""One training run: model and adapter, the trainer's arguments, checkpoints, the saved adapter."""

import logging
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.utils import logging as transformers_logging

from promptrank.basics.seals import read_kept, write_sealed
from promptrank.engine.devices import default_dtype, within_memory
from promptrank.engine.sliding import layer_windows
from promptrank.errors import InputError
from promptrank.evaluation.bootstrap import DRAWS
from promptrank.evaluation.report import Report
from promptrank.schema.metric_kinds import KINDS
from promptrank.schema.metric_names import parse_metric
from promptrank.training import adapter_model as lora
from promptrank.training import averaging, checkpoints, processes
from promptrank.training.collate import Collator
from promptrank.training.examples import Example, blank_of
from promptrank.training.settings import Settings
from promptrank.training.trainer import AdapterTrainer, writing
from promptrank.training.validation import Slice
from promptrank.training.watch import Progress, Say, Watch

_CHECKPOINTS = 10

Metrics = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a run gave.

    Attributes:
        before, after: per task its validation metrics, before the first step and of what is saved;
            empty without validation.
        steps: optimizer steps; ``best`` the one whose weights are saved, unless those of the steps
            ``averaged`` were averaged and are better.
        loss: mean training loss over the run's last logged stretch; None where none was logged.
        reports: per task, of what is saved, with intervals; empty unless asked for.
    """

    before: Metrics
    after: Metrics
    steps: int
    best: int
    averaged: tuple[int, ...]
    loss: float | None
    reports: Mapping[str, Report]


class Examples(torch.utils.data.Dataset[Example]):
    """The examples of all tasks, one behind the other, and a blank one behind all of them."""

    def __init__(self, groups: Sequence[Sequence[Example]]) -> None:
        self._groups = groups
        self._ends = list(accumulate(map(len, groups)))
        self.count = self._ends[-1]

    def __len__(self) -> int:
        return self.count + 1

    def __getitem__(self, place: int) -> Example:
        if place == self.count:
            return blank_of(self._groups[0][0])
        group = bisect_right(self._ends, place)
        return self._groups[group][place - (self._ends[group - 1] if group else 0)]


def set_up(
    groups: Sequence[Sequence[Example]],
    longest: int,
    slices: Sequence[Slice],
    settings: Settings,
    *,
    model: Path,
    name: str,
    init: Path | None,
    device: str,
    run: Path,
    logs: Path,
    say: Say,
    progress: Progress,
) -> AdapterTrainer:
    """Model, adapter and trainer: whatever can be refused before the first step.

    Args:
        groups: the examples of each task; each example is taken when it is wanted.
        longest: tokens of their longest path.
        slices: what to validate on; none for no validation.
        model: folder of the base; ``name`` is what users call it.
        init: folder of the adapter to start from.
        device: as users name it; on cuda the base is in bfloat16 and the adapter in float32.
        run: folder of the run's checkpoints.
        logs: folder for what trackers write into files; its parent bears the adapter's name.

    Raises:
        InputError: settings that do not go together.
        ModelError: a base that cannot be trained, or an adapter that does not fit it.
    """
    examples = Examples(groups)
    with _quiet():
        with processes.together():
            place = processes.training_device(device)
            base = lora.base_model(model, name, default_dtype(place), place)
            longest_packed = lora.longest_packed(
                base,
                name,
                longest,
                max((part.encoder.limit for part in slices), default=0),
            )
            flex = lora.trains_by_flex(base, say)
            wrapped = lora.with_adapter(base, name, settings, init)
            args = _arguments(settings, examples.count, bool(slices), place, run, logs)
        callbacks: list[Any] = [Watch(say, progress, bool(slices))]
        if slices and settings.patience:
            callbacks.append(EarlyStoppingCallback(settings.patience))
        trainer = AdapterTrainer(
            settings,
            [len(group) for group in groups],
            slices,
            longest_packed,
            flex,
            model=wrapped,
            args=args,
            data_collator=Collator(windows=layer_windows(base.config) or (), flex=flex),
            train_dataset=examples,
            eval_dataset=[0] if slices else None,
            callbacks=callbacks,
        )
    trainer.remove_callback(PrinterCallback)  # prints to stdout
    _log_into(trainer, logs)
    if args.fsdp and not trainer.is_fsdp_enabled:
        say("fsdp is left out: accelerate shards over several processes with GPUs only")
    return trainer


def fit(
    trainer: AdapterTrainer,
    settings: Settings,
    *,
    run: Path,
    out: Path,
    resume: bool,
    report: bool = False,
    say: Say,
) -> Fitted:
    """Train the adapter and write it to ``out``.

    Args:
        resume: go on from the newest whole checkpoint in ``run``.
        report: measure what is saved once more, with intervals.

    Raises:
        InputError: a full disk.
        ModelError: a loss that is no number.
    """
    validate = trainer.eval_dataset is not None
    wrapped: Any = trainer.model
    base = trainer.base
    with _quiet(), within_memory(base.device, "training"):
        with processes.in_turn():
            start = checkpoints.newest(run, say) if resume else None
        if start is not None:
            say(f"resuming after step {checkpoints.step_of(start)}")
            checkpoints.check_best(start)
        averaging.check(trainer, settings, start)
        before = _before(trainer, run, validate)
        if start is not None and checkpoints.is_last(start):
            trainer.take_up(start)
        else:
            trainer.train(resume_from_checkpoint=str(start) if start is not None else None)
        mean = averaging.take_average(trainer, settings, say)
        if settings.half:
            lora.round_weights(wrapped)
        best = (trainer.state.best_global_step if validate else None) or trainer.state.global_step
        kept = mean.metrics if mean is not None else trainer.measured.get(best, {})
        after: Metrics = {} if settings.half else kept
        if validate and (report or not after):
            after = trainer.measure(DRAWS if report else 0)
        state = trainer.whole_state()
        with processes.together(), writing(out):
            if processes.is_first():
                lora.save(wrapped, out, settings.half, state)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    loss = losses[-1] if losses else None
    reports = trainer.reports if report else {}
    averaged = mean.steps if mean is not None else ()
    return Fitted(before, after, trainer.state.global_step, best, averaged, loss, reports)


def _before(trainer: AdapterTrainer, run: Path, wanted: bool) -> Metrics:
    """Metrics before the first step; a resumed run reads what the first one found."""
    path, then = run / "before.json", "start over with --overwrite"
    if not wanted:
        return {}
    if path.is_file():
        kind, what = dict[str, dict[str, float]], "a run's first metrics"
        return read_kept(path, kind, what=what, error=InputError, then=then, constants=True)
    measured = trainer.measure()
    if trainer.is_world_process_zero():
        write_sealed(path, measured)
    return measured


def _log_into(trainer: AdapterTrainer, logs: Path) -> None:
    """Event files into ``logs``, unless the user named a folder; the run's own one is removed."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(logs)


def _arguments(
    settings: Settings,
    examples: int,
    validate: bool,
    device: torch.device,
    run: Path,
    logs: Path,
) -> TrainingArguments:
    micro, accumulation = settings.passes(processes.count())
    steps = settings.steps or max(1, round(settings.epochs * -(-examples // settings.batch)))
    every = settings.every or max(1, steps // _CHECKPOINTS)
    written = -(-steps // every)
    if (settings.average or 0) > written:
        raise InputError(
            f"average: {settings.average} checkpoints, and a run of {steps} steps with one every "
            f"{every} has {written}; lower --average or --every"
        )
    fields: dict[str, Any] = {
        "output_dir": str(run),
        "per_device_train_batch_size": micro,
        "gradient_accumulation_steps": accumulation,
        "learning_rate": settings.lr,
        "max_steps": steps,
        "warmup_steps": steps // 20,  # of a single step's warm-up the rate would be 0
        "lr_scheduler_type": "cosine",
        "weight_decay": 0.0,
        "logging_steps": every,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 1 + (settings.average or 1),  # and the best
        "eval_strategy": "steps" if validate else "no",
        "eval_steps": every if validate else None,
        "load_best_model_at_end": validate,
        "metric_for_best_model": settings.metric if validate else None,
        "greater_is_better": not KINDS[parse_metric(settings.metric)[0]].lower_is_better
        if validate
        else None,
        "restore_callback_states_from_checkpoint": True,
        "remove_unused_columns": False,
        "label_names": [],
        "seed": settings.seed,
        "report_to": "none",
        "run_name": logs.parent.name,
        "use_cpu": device.type == "cpu",
        "ddp_find_unused_parameters": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": device.type == "cuda",
    }
    try:
        args = TrainingArguments(**{**fields, **settings.trainer})
        if args.n_gpu > 1:
            # The Trainer would cut our batches up and hand them round; a process is one GPU's.
            args._n_gpu = 1
    except (TypeError, ValueError) as error:
        raise InputError(f"trainer: {error}") from None
    return args


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' own messages go to our log only when they are errors; warnings to nobody."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    accelerate = logging.getLogger("accelerate")
    kept = accelerate.level
    accelerate.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="(torch|transformers|accelerate|peft)")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        accelerate.setLevel(kept)
