"""Settings of a training run; what cannot work is refused before anything is loaded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar

from promptrank.adapters.lora_options import check_options
from promptrank.basics.hints import near_names
from promptrank.errors import InputError
from promptrank.schema.metric_names import parse_metric, sampling_of, without_sampling

SHAPES = ("auto", "turns", "packed")
# Of 262,144 words, the head of a model of 100M parameters costs more than all its layers.
LARGE_VOCABULARY = 100_000
SAMPLED_ROWS = 128
LOSSES = ("answers", "listwise", "ranknet")

# What the run itself decides; setting it elsewhere would break resuming or the loss.
_OURS = {
    "output_dir",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "seed",
    "data_seed",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "remove_unused_columns",
    "label_names",
    "eval_strategy",
    "eval_steps",
    "save_strategy",
    "save_steps",
    "save_only_model",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
    "restore_callback_states_from_checkpoint",
    "resume_from_checkpoint",
    "ignore_data_skip",
    "group_by_length",
    "auto_find_batch_size",
    "push_to_hub",
    "use_liger_kernel",
    "label_smoothing_factor",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train; the defaults suit a small decoder and some thousand labels.

    Attributes:
        shape: ``turns`` trains every answered question of the history and the candidates behind
            it; ``packed`` the candidates alone; ``auto`` takes turns where history is turns.
        losses: name -> weight.
        prompt_weight: w_p of w_p * L_prompt + (1 - w_p) * L_answers, in [0, 1).
        prompt_rows: most prompt tokens of a forward pass whose loss is computed; of more, so many
            are drawn anew each time and stand for all. 0 for all; None for all, or for
            `SAMPLED_ROWS` where the vocabulary is larger than `LARGE_VOCABULARY`.
        questions: question -> weight of its labels; 1 where left out.
        limit: about this many labels per task; all where None.
        rank, alpha: of the LoRA; the update is scaled by alpha / rank.
        lora: further fields of peft's LoraConfig; those that vLLM cannot serve are refused.
        lr: peak learning rate.
        epochs: passes over the examples; ``steps`` takes precedence.
        batch: examples (requests) in one optimizer step, of all processes together.
        micro: of these, how many in one forward pass, or fewer where that divides a step evenly.
        temperature: tasks are drawn in proportion to (number of examples) ** (1 / temperature).
        valid: validation requests per task; 0 for none.
        metric: by which the best checkpoint is chosen, mean over tasks.
        every: steps between checkpoints, each validated; None for ten in a run.
        patience: checkpoints without a better metric before training stops; 0 to never stop.
        average: so many of the last checkpoints are averaged at the end; the mean is saved where
            it is better on validation than the best of them, or where there is no validation.
        rewordings: share of examples whose answers are worded otherwise (``say``).
        templates: other templates for the same tasks: file -> share of examples.
        half: save the adapter in bfloat16.
        trainer: further fields of transformers' TrainingArguments (``report_to``, ``bf16``).
    """

    RANK: ClassVar[int] = 8

    shape: str = "auto"
    losses: Mapping[str, float] = field(default_factory=lambda: {"answers": 1.0})
    prompt_weight: float = 0.01
    prompt_rows: int | None = None
    questions: Mapping[str, float] = field(default_factory=dict)
    limit: int | None = None
    rank: int = RANK
    alpha: float | None = None
    lora: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 5e-4
    epochs: float = 1.0
    steps: int | None = None
    batch: int = 8
    micro: int = 2
    temperature: float = 1.0
    valid: int = 100
    metric: str = "auc"
    every: int | None = None
    patience: int = 3
    average: int | None = None
    rewordings: float = 0.0
    templates: Mapping[str, float] = field(default_factory=dict)
    half: bool = False
    seed: int = 0
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _one_of("shape", self.shape, SHAPES)
        for name in self.losses:
            _one_of("loss", name, LOSSES)
        if not any(self.losses.values()) or any(w < 0 for w in self.losses.values()):
            raise InputError("loss: weights must be at least 0, and one of them above")
        _check(min(self.questions.values(), default=0.0) >= 0, "question: weights: at least 0")
        _check(0 <= self.prompt_weight < 1, "prompt_weight: must be at least 0 and below 1")
        _check((self.prompt_rows or 0) >= 0, "prompt_rows: must be at least 0, which means all")
        for problem in _lora_problems(self.lora):
            raise InputError(problem)
        for problem in check_options({"r": self.rank}):
            raise InputError(problem)
        for name in ("lr", "epochs", "temperature"):
            _check(getattr(self, name) > 0, f"{name}: must be above 0")
        for name in ("batch", "micro"):
            _check(getattr(self, name) >= 1, f"{name}: must be at least 1")
        for name in ("limit", "steps", "every"):
            _check(getattr(self, name) is None or getattr(self, name) >= 1, f"{name}: at least 1")
        _check(self.average is None or self.average >= 2, "average: at least 2 checkpoints")
        if self.average is not None:
            limited = "save_total_limit" in self.trainer
            _check(not limited, "trainer: save_total_limit would remove what --average is made of")
        shares = [self.rewordings, *self.templates.values()]
        _check(min(shares) >= 0 and sum(shares) <= 1, "augmentation: shares of 0 to 1 in all")
        _metric(self.metric)
        for name in self.trainer:
            _check(name not in _OURS, f"trainer: {name} follows from other options; leave it out")

    def check_trainer(self) -> None:
        """Refuse fields and trackers that are not there; it imports them, so it comes late.

        Raises:
            InputError: no such field of TrainingArguments, or no such tracker here.
        """
        if self.trainer:
            from transformers import TrainingArguments

            known = tuple(field.name for field in fields(TrainingArguments))
            for name in self.trainer:
                _one_of("trainer", name, known)
        wanted = self.trainer.get("report_to") or "none"
        if wanted == "none":
            return
        from transformers.integrations.integration_utils import get_reporting_integration_callbacks

        for name in [wanted] if isinstance(wanted, str) else wanted:
            try:
                for callback in get_reporting_integration_callbacks(name):
                    callback()
            except ValueError as error:
                raise InputError(f"trainer: report_to: {error}") from None
            except (ImportError, RuntimeError):
                raise InputError(
                    f"trainer: report_to: {name} is not installed; `pip install {name}`, or leave "
                    "it out"
                ) from None

    def for_vocabulary(self, words: int) -> "Settings":
        """The same with ``prompt_rows`` decided, for a model of so many words."""
        if self.prompt_rows is not None:
            return self
        sampled = words > LARGE_VOCABULARY and self.prompt_weight > 0
        return replace(self, prompt_rows=SAMPLED_ROWS if sampled else 0)

    def passes(self, processes: int) -> tuple[int, int]:
        """How ``batch`` is shared: examples in a forward pass, passes of a process in a step.

        Raises:
            InputError: it cannot be shared evenly.
        """
        share, left = divmod(self.batch, processes)
        if left:
            raise InputError(
                f"batch: {self.batch} requests in a step cannot be shared by {processes} "
                f"processes; take --batch {(share + 1) * processes}"
            )
        micro = next(n for n in range(min(self.micro, share), 0, -1) if share % n == 0)
        return micro, share // micro


def _check(fine: bool, message: str) -> None:
    if not fine:
        raise InputError(message)


def _metric(name: str) -> None:
    try:
        parse_metric(name)
    except ValueError as error:
        raise InputError(f"metric: {error}") from None
    if sampling_of(name) is not None:
        plain = without_sampling(name)
        raise InputError(f"metric: write {plain}; the task says how its negatives are sampled")


def _one_of(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        names = near_names(name, known)
        listed = ", ".join(known) if len(known) < 20 else "see transformers' documentation"
        hint = f"did you mean {names[0]}?" if names else f"known: {listed}"
        raise InputError(f"{what}: no {name!r}; {hint}")


def _lora_problems(fields: Mapping[str, Any]) -> Iterator[str]:
    """What an engine that serves the adapter would refuse or silently drop."""
    for name in sorted(fields.keys() & {"r", "lora_alpha"}):
        yield f"lora: {name}: say --{'rank' if name == 'r' else 'alpha'}"
    yield from (f"lora: {problem}" for problem in check_options(fields))
