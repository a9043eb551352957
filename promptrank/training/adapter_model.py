"""The model with a trainable adapter: fresh, or started from one that was trained before."""

import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, set_seed

from promptrank.adapters.lora_options import TARGETS
from promptrank.adapters.shelf import CONFIG, WEIGHTS, adapter_config
from promptrank.engine.adapter_tensors import AdapterTensors, read_adapter_tensors
from promptrank.engine.contract import EngineInfo
from promptrank.engine.flex import faulty_gradients
from promptrank.engine.lean_lora import lean
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.model import load_model, needs_eager, packed_window, vocab_size
from promptrank.engine.probe import misfit_beyond
from promptrank.engine.products import free_memory, pack, weight_bytes
from promptrank.engine.sliding import layer_windows
from promptrank.engine.tree_checks import Limits
from promptrank.engine.weighing import settle
from promptrank.errors import InputError, ModelError
from promptrank.runtime.kept_ways import PACK_WEIGHTS, keep_ways, kept_ways
from promptrank.training.lean_norms import lean_norms
from promptrank.training.settings import Settings

_NAME = "default"
_CPU = torch.device("cpu")
# What says where an adapter's weights are and how they are scaled.
_KEPT = (
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "use_rslora",
)


def base_model(
    folder: Path, name: str, dtype: str = "float32", device: torch.device = _CPU
) -> PreTrainedModel:
    """The base model, ready for packed forwards with gradients.

    Raises:
        ModelError: it cannot be loaded, its layers do not allow packing, or the device is too
            small for it.
    """
    model = load_model(folder, dtype, lean=False, device=device)
    window = packed_window(model.config)
    if needs_eager(model) or window == 0:
        raise ModelError(
            f"{name}: its attention is not plain attention over all tokens or a sliding window "
            "(chunks, states, capped scores), and training packs; choose another base"
        )
    return model


def trains_by_flex(model: PreTrainedModel, say: Callable[[str], None]) -> bool:
    """Whether the model on its device is to train by FlexAttention, after a trial of it."""
    if model.device.type != "cuda" or any(layer_windows(model.config) or ()):
        return False
    config: Any = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    fault = faulty_gradients(heads, kv_heads, width, model.device, model.dtype)
    if fault is not None:
        say(f"attention in bands, which is slower on a GPU: {fault}")
    return fault is None


def longest_packed(
    model: PreTrainedModel, name: str, examples: int, requests: int = 0
) -> int | None:
    """The longest path that may run packed, None for all; tests it where sliding windows are left.

    Args:
        examples, requests: tokens of the longest path of those that train and those that validate.

    Raises:
        ModelError: the self-test finds that examples beyond the window cannot be packed.
    """
    window, longest = packed_window(model.config), max(examples, requests)
    if window is None or longest <= window:
        return None
    info = EngineInfo("packed", name, "", str(model.dtype).removeprefix("torch."), longest)
    reason = misfit_beyond(Adapters(model), info, Limits(longest, vocab_size(model)))
    if reason and examples > window:
        raise ModelError(
            f"{name}: an example has {examples} tokens, layers attend over a window of {window}, "
            f"and the self-test found that {reason}; lower budget.tokens to {window}"
        )
    return window if reason else None


def _pack(model: PreTrainedModel) -> None:
    """Products of the frozen weights in the fastest way, where memory has room for two copies."""
    if model.device.type != "cpu":
        return
    free, needed = free_memory(), 2 * weight_bytes(model)
    if os.environ.get(PACK_WEIGHTS, "1") == "0" or (free is not None and needed > free / 2):
        return
    dtype = str(model.dtype).removeprefix("torch.")
    kept = kept_ways(dtype)
    keep_ways(dtype, pack(model, kept, back=True) | settle(model, kept))


def with_adapter(
    model: PreTrainedModel, name: str, settings: Settings, init: Path | None
) -> PeftModel:
    """The model with one trainable adapter on it; its base weights never train.

    Args:
        name: of the base, as users give it; written into the adapter's config.
        init: folder of an adapter to start from; its rank and scale are kept.

    Raises:
        ModelError: ``init`` belongs to another base, is no LoRA folder, or its tensors are not
            what its config asks for.
    """
    first = read_adapter_tensors(init, model.config) if init is not None else None
    _pack(model)
    set_seed(settings.seed)
    config = _config_of(init) if init is not None else _config(settings)
    config.base_model_name_or_path = name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the config names a base: it is checked above
        try:
            wrapped = get_peft_model(model, config, adapter_name=_NAME)
        except ValueError as error:
            raise ModelError(f"{name}: its layers take no such adapter ({error})") from None
    assert isinstance(wrapped, PeftModel)
    if init is not None and first is not None:
        _load(wrapped, init, first)
    wrapped.peft_config[_NAME].base_model_name_or_path = name
    lean(wrapped)
    lean_norms(wrapped)
    return wrapped


def _config(settings: Settings) -> LoraConfig:
    fields: dict[str, Any] = {"target_modules": list(TARGETS), **settings.lora}
    alpha: Any = settings.alpha if settings.alpha is not None else 2 * settings.rank
    try:
        return LoraConfig(
            r=settings.rank, lora_alpha=alpha, bias="none", task_type="CAUSAL_LM", **fields
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"lora: {error}") from None


def _config_of(folder: Path) -> LoraConfig:
    options = adapter_config(folder)
    return LoraConfig(
        bias="none", task_type="CAUSAL_LM", **{n: options[n] for n in _KEPT if options.get(n)}
    )


def _load(model: PeftModel, folder: Path, first: AdapterTensors) -> None:
    renamed = _renamed(first.tensors)
    own = dict(model.named_parameters())
    missing = [n for n in own if "lora_" in n and n not in renamed]
    if missing or any(n not in own for n in renamed):
        odd = missing or [n for n in renamed if n not in own]
        raise ModelError(f"{folder}: does not have the layers of its own config, such as {odd[0]}")
    put_tensors(model, first.tensors)


def put_tensors(model: PeftModel, tensors: Mapping[str, torch.Tensor]) -> None:
    """Give the adapter these weights, by the names of its file."""
    own = dict(model.named_parameters())
    with torch.no_grad():
        for key, value in _renamed(tensors).items():
            own[key].copy_(value)


def _renamed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        key.replace("lora_A.", f"lora_A.{_NAME}.").replace("lora_B.", f"lora_B.{_NAME}."): value
        for key, value in tensors.items()
    }


def round_weights(model: PeftModel) -> None:
    """Round the adapter to bfloat16, so that what is saved is what was measured."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.copy_(weight.to(torch.bfloat16))


def save(
    model: PeftModel, folder: Path, half: bool, state: dict[str, torch.Tensor] | None = None
) -> None:
    """Write a plain peft folder.

    Args:
        state: the weights, where the model holds a part of them only.
    """
    kept = state
    if half:
        state = model.state_dict() if state is None else state
        kept = {n: w.to(torch.bfloat16) for n, w in state.items() if "lora_" in n}
    model.save_pretrained(
        str(folder), state_dict=kept, safe_serialization=True, save_embedding_layers=False
    )
    # peft writes a model card with gaps to fill in; ours is card.json.
    (folder / "README.md").unlink(missing_ok=True)
    (folder / WEIGHTS).chmod(0o644)
    # A set to peft, in another order each time; the same training shall give the same bytes.
    config = adapter_config(folder)
    config["target_modules"] = sorted(config["target_modules"])
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
