"""``decoder``: the teacher's decoder with fewer layers, taught on the teacher's answers.

It reads the same prompts and is served by the packed engine from its own folder ``model/``. Its
loss is cross-entropy between the target shares of the answers (the teacher's, or label and teacher
mixed as in `losses`) and the log-probabilities of the answers' paths, which is KL up to a constant;
it trains on the packed forward that adapters train on, from examples that lie on disk as theirs do.

Options: ``layers`` (half of the model's where left out), ``epochs`` (1), ``learning_rate``
(0.0002), ``batch`` (4 requests). Layers are dropped evenly; the first and the last stay.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from promptrank.basics.json_files import read_json
from promptrank.basics.quiet import no_library_bars
from promptrank.basics.scratch import scratch
from promptrank.basics.telling import Say
from promptrank.engine.devices import within_memory
from promptrank.engine.sliding import layer_windows
from promptrank.errors import DataError, InputError, ModelError
from promptrank.prompt import Encoder
from promptrank.schema.task import Task
from promptrank.students.decoder.taught_examples import store
from promptrank.students.kind_options import Options, positive, read_options, whole
from promptrank.students.lessons import Learning, Lessons, check, tally
from promptrank.training import answer_losses as answer_losses
from promptrank.training.adapter_model import base_model, longest_packed
from promptrank.training.collate import Collator
from promptrank.training.examples import Example
from promptrank.training.objective import answer_logprobs
from promptrank.training.processes import training_device

OPTIONS: Options = {
    "layers": (None, whole()),
    "epochs": (1, whole()),
    "learning_rate": (2e-4, positive),
    "batch": (4, whole()),
}
_TOKENIZER = ("tokenizer*", "special_tokens_map.json", "chat_template*", "generation_config.json")


class Pruned:
    """A decoder with fewer layers, in a folder of its own until it is saved."""

    def __init__(self, folder: Path, made: ExitStack, facts: Mapping[str, Any]) -> None:
        """Take over a folder; ``made`` removes it."""
        self._folder, self._made, self._facts = folder, made, facts

    def facts(self) -> Mapping[str, Any]:
        """Layers kept, steps, loss."""
        return self._facts

    def save(self, folder: Path) -> None:
        """``model/``: safetensors, config and tokenizer."""
        with self._made:
            shutil.copytree(self._folder, folder / "model")


def check_options(settings: Learning) -> dict[str, Any]:
    """All options, typed.

    Raises:
        InputError: an option that is not known or a value it cannot have, or a loss with a second
            output.
        ModelError: there is no such device to learn on.
    """
    if settings.loss not in ("labels", "direct"):
        raise InputError(
            f"a decoder has one output and loss {settings.loss} needs two; use labels or direct"
        )
    training_device(settings.device)
    return read_options("decoder", settings.options, OPTIONS)


def fit(
    task: Task, encoder: Encoder, model: Path, lessons: Lessons, settings: Learning, say: Say
) -> Pruned:
    """Drop layers of ``model`` and teach what is left.

    Raises:
        InputError: an option that is not known or a value it cannot have, or a loss with a second
            output.
        DataError: too little to learn from.
        ModelError: there is no such device to learn on.
    """
    options = check_options(settings)
    check(tally(task, lessons()), settings)
    device = training_device(settings.device)
    network = base_model(model, str(model), device=device)
    kept = prune(network, options["layers"])
    with scratch() as folder:
        learned, about = store(folder / "examples", task, encoder, lessons(), settings)
        longest_packed(network, str(model), about.longest)
        network.train()
        network.requires_grad_(True)
        # The table of words is shared with the output and knows more than these prompts do.
        network.get_input_embeddings().requires_grad_(False)
        with within_memory(device, "learning"):
            loss = _learn(network, learned, options, settings.seed, say)
    facts = {"layers": kept, "loss": loss, "options": options, "prompt": encoder.fingerprint}
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        with no_library_bars():
            network.eval().save_pretrained(folder)
        for pattern in _TOKENIZER:
            for path in model.glob(pattern):
                shutil.copy(path, folder)
        return Pruned(folder, stack.pop_all(), facts)


def check_layers(model: Path, wanted: int | None) -> None:
    """InputError for more layers than the model's config states; no weights are read."""
    config = read_json(model / "config.json", error=ModelError)
    text = config.get("text_config") or config
    count = text.get("num_hidden_layers") if isinstance(text, dict) else None
    if wanted is not None and isinstance(count, int):
        kept_layers(count, wanted)


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


def _learn(
    network: Any, learned: Sequence[Example], options: Mapping[str, Any], seed: int, say: Say
) -> list[float]:
    """Mean loss of each epoch."""
    if not learned:
        raise DataError("no training request can be rendered; see promptrank validate")
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, options["learning_rate"], weight_decay=0.0)
    windows = layer_windows(network.config) or ()
    collator, size = Collator(network.dtype, windows), options["batch"]
    order = np.random.default_rng(seed)
    means = []
    for epoch in range(1, options["epochs"] + 1):
        total = weight = 0.0
        mixed = order.permutation(len(learned))
        for start in range(0, len(mixed), size):
            chosen = [learned[int(i)] for i in mixed[start : start + size]]
            batch = collator.batch(chosen).to(network.device)
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
