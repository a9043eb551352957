"""``decoder``: the teacher's decoder with fewer layers, taught on the teacher's answers.

It reads the same prompts and is served by the packed engine from its own folder ``model/``. Its
loss is cross-entropy between the target shares of the answers (the teacher's, or label and teacher
mixed as in `losses`) and the log-probabilities of the answers' paths, which is KL up to a constant;
it trains on the packed forward that adapters train on.

Options: ``layers`` (half of the model's where left out), ``epochs`` (1), ``learning_rate``
(0.0002), ``batch`` (4 requests). Layers are dropped evenly; the first and the last stay.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from promptrank.distillation.lessons import Lesson, Lessons, Settings, check, collect
from promptrank.distillation.losses import Floats, targets
from promptrank.distillation.student import Say
from promptrank.engine.base import Failure
from promptrank.engine.packed import open_packed
from promptrank.errors import DataError, InputError
from promptrank.prompt import Encoder
from promptrank.ranking.scores import answer
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.training import losses as answer_losses
from promptrank.training.collate import Collator
from promptrank.training.examples import Example, Soft, examples
from promptrank.training.lora import base_model
from promptrank.training.objective import answer_logprobs
from promptrank.training.select import Share

OPTIONS: Mapping[str, Any] = {"layers": None, "epochs": 1, "learning_rate": 2e-4, "batch": 4}
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "chat_template*", "generation_config.json")


class DecoderStudent:
    """A pruned decoder in a folder, opened as an engine."""

    def __init__(self, task: Task, encoder: Encoder, folder: TemporaryDirectory[str]) -> None:
        self.task, self.encoder, self._folder = task, encoder, folder
        self._engine = open_packed(Path(folder.name), name="student", adapters=[])
        self._facts: dict[str, Any] = {}

    def answers(self, request: Request) -> Mapping[str, Floats]:
        """Question -> (candidates, answers) log-probabilities among the answers.

        Raises:
            DataError: a candidate that cannot be rendered or scored.
        """
        encoded = self.encoder.encode(request)
        if encoded.tree is None or len(encoded.candidate_ids) < len(request.candidates):
            raise DataError(encoded.errors[0].message)
        result = next(self._engine.score([encoded.tree]))
        if isinstance(result, Failure):
            raise DataError(result.message)
        found: dict[str, list[list[float]]] = {name: [] for name in self.task.questions}
        for branch in result:
            if isinstance(branch, Failure):
                raise DataError(branch.message)
            for name, paths, slot in zip(encoded.questions, encoded.paths, branch, strict=True):
                said = answer(self.task.questions[name], [p[0] for p in paths], slot)
                found[name].append(list(said.logprobs.values()))
        return {name: _normalised(np.array(rows)) for name, rows in found.items()}

    def notes(self) -> tuple[str, ...]:
        """A decoder has nothing to fall back on."""
        return ()

    def facts(self) -> Mapping[str, Any]:
        """Layers kept, steps, loss."""
        return self._facts

    def save(self, folder: Path) -> None:
        """``model/``: safetensors, config and tokenizer; it answers no more afterwards."""
        self._engine.close()
        shutil.copytree(self._folder.name, folder / "model")
        self._folder.cleanup()


def _normalised(logs: Floats) -> Floats:
    found: Floats = logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)
    return found


def fit(
    task: Task, encoder: Encoder, model: Path, lessons: Lessons, settings: Settings, say: Say
) -> DecoderStudent:
    """Drop layers of ``model`` and teach what is left.

    Raises:
        InputError: an option that is not known, or a loss with a second output.
        DataError: too little to learn from.
    """
    for name in settings.options:
        if name not in OPTIONS:
            raise InputError(f"decoder has no option {name!r}; options: {', '.join(OPTIONS)}")
    if settings.loss not in ("labels", "direct"):
        raise InputError(
            f"a decoder has one output and loss {settings.loss} needs two; use labels or direct"
        )
    options = {**OPTIONS, **settings.options}
    check(task, collect(task, lessons()), settings)
    network = base_model(model, str(model))
    kept = prune(network, options["layers"])
    network.train()
    network.requires_grad_(True)
    # The table of words is shared with the output and knows more than these prompts do.
    network.get_input_embeddings().requires_grad_(False)
    found = list(_examples(task, encoder, lessons(), settings))
    loss = _learn(network, found, options, settings.seed, say)
    folder: TemporaryDirectory[str] = TemporaryDirectory(prefix="promptrank-")
    network.eval().save_pretrained(folder.name)
    for pattern in _TOKENIZER:
        for path in model.glob(pattern):
            shutil.copy(path, folder.name)
    student = DecoderStudent(task, encoder, folder)
    student._facts = {"layers": kept, "loss": loss, "options": dict(options)}
    return student


def kept_layers(count: int, wanted: int) -> list[int]:
    """Which of ``count`` layers stay: spread evenly, first and last among them."""
    if not 1 <= wanted <= count:
        raise InputError(f"option layers: from 1 to {count}, the model's own")
    return sorted({round(float(i)) for i in np.linspace(0, count - 1, wanted)})


def prune(network: Any, wanted: int | None) -> list[int]:
    """Drop layers in place; the indices of those that stay."""
    layers = network.model.layers
    kept = kept_layers(len(layers), wanted or (len(layers) + 1) // 2)
    network.model.layers = nn.ModuleList(layers[i] for i in kept)
    for place, layer in enumerate(network.model.layers):
        layer.self_attn.layer_idx = place
    network.config.num_hidden_layers = len(kept)
    if getattr(network.config, "layer_types", None):
        network.config.layer_types = [network.config.layer_types[i] for i in kept]
    return kept


def _examples(
    task: Task, encoder: Encoder, lessons: Iterable[Lesson], settings: Settings
) -> Iterator[Example]:
    found = [lesson for lesson in lessons if lesson.request.split != "valid"]
    soft = {lesson.request.request_id: _soft(task, lesson, settings) for lesson in found}
    shares = {lesson.request.request_id: Share(len(lesson.request.candidates)) for lesson in found}
    bare = (lesson.request for lesson in found)
    return examples(task, encoder, bare, shares, soft=soft)


def _soft(task: Task, lesson: Lesson, settings: Settings) -> Soft:
    """Target shares per candidate and question, those with weight."""
    rows = collect(task, [lesson])
    soft: dict[str, dict[str, dict[str, float]]] = {}
    for name, known in rows.known.items():
        main, _ = targets(known, settings.loss, settings.alpha, known.labels)
        answers = list(task.questions[name].answers)
        for i, candidate in enumerate(lesson.request.candidates):
            if main.weight[i] > 0:
                given = dict(zip(answers, main.answers[i].tolist(), strict=True))
                soft.setdefault(candidate.candidate_id, {})[name] = given
    return soft


def _learn(
    network: Any, found: list[Example], options: Mapping[str, Any], seed: int, say: Say
) -> list[float]:
    """Mean loss of each epoch."""
    if not found:
        raise DataError("no training request can be rendered; see promptrank validate")
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, float(options["learning_rate"]), weight_decay=0.0)
    collator, size = Collator(network.dtype), int(options["batch"])
    order = np.random.default_rng(seed)
    means = []
    for epoch in range(1, int(options["epochs"]) + 1):
        total = weight = 0.0
        mixed = [found[i] for i in order.permutation(len(found))]
        for start in range(0, len(mixed), size):
            batch = collator.batch(mixed[start : start + size])
            logs = answer_logprobs(network, batch)
            summed = answer_losses.answers_loss(logs, batch.shares, batch.weights)
            count = float(batch.weights.sum())
            optimizer.zero_grad()
            (summed.total / max(count, 1e-9)).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            total += float(summed.total.detach())
            weight += count
        means.append(total / max(weight, 1e-9))
        say(f"epoch {epoch}: loss {means[-1]:.4f}")
    return means
