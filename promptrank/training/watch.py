"""What a training run tells while it goes on, and that its last step counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

Progress = Callable[[int, int | None], None]
Say = Callable[[str], None]
PREFIX = "eval"
"""Of the Trainer's names for what validation measured."""


class Watch(TrainerCallback):
    """Progress, and one line for every validation."""

    def __init__(self, say: Say, progress: Progress, validate: bool) -> None:
        self._say, self._progress, self._validate = say, progress, validate

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Where a resumed run stands; its best checkpoint lies where the run lies now."""
        if state.best_global_step:
            best = Path(str(args.output_dir)) / f"checkpoint-{state.best_global_step}"
            state.best_model_checkpoint = str(best)
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
            name.removeprefix(f"{PREFIX}_"): value
            for name, value in (logs or {}).items()
            if name == "loss" or name.startswith(PREFIX)
        }
        if shown and state.is_world_process_zero:
            what = "validation" if "loss" not in (logs or {}) else "training"
            numbers = ", ".join(f"{name} {value:.4f}" for name, value in shown.items())
            self._say(f"step {state.global_step}: {what} {numbers}")
