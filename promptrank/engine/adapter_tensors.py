"""Every tensor of an adapter accounted for: one check for all engines, merging and training.

peft and vLLM pass over tensors that they have no place for, leave at nothing what a file lacks,
and write into the base model what bears a name of its. So the file is read here, and held against
the tensors that its config asks for on the model at hand; peft says which those are, on a copy of
the model without weights. What is missing, too much, of another shape or not a number is refused.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig

from promptrank.engine.adapter_misfits import Shapes, misfit
from promptrank.engine.adapter_options import EMBEDDED, lora_config, unserved
from promptrank.engine.model_files import (
    ADAPTER_WEIGHTS,
    check_adapter_folder,
    trained_on,
)
from promptrank.engine.plain_json import read_json
from promptrank.errors import ModelError

PREFIX = "base_model.model."
"""What peft puts before the name of a layer."""

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_NAME = "default"


@dataclass(frozen=True, slots=True)
class AdapterTensors:
    """An adapter that fits a model, whole.

    Attributes:
        config: which layers it is on, and how it is scaled.
        tensors: by the names of its file; each has a place in the model, and no other is needed.
        adds_nothing: all updates are zero: a fresh adapter, which scores as the base does.
    """

    config: LoraConfig
    tensors: dict[str, torch.Tensor]
    adds_nothing: bool


def read_adapter_tensors(folder: str | Path, model: PreTrainedConfig | Path) -> AdapterTensors:
    """The adapter in a folder, held against its own config and a model.

    Args:
        model: the model's config, or its folder.

    Raises:
        ModelError: no LoRA folder, options that would change the base model or be passed over, one
            made for another model, or a tensor that is missing, too much, of another shape or not
            a number.
    """
    path = Path(folder)
    check_adapter_folder(path)
    options = read_json(path / "adapter_config.json")
    if odd := unserved(options, EMBEDDED):
        raise ModelError(
            f"{path}: {', '.join(odd)} cannot be served: it would change the base model, or be "
            "passed over; save LoRA layers alone, or merge it into its base with peft"
        )
    config = lora_config(path, options)
    wanted, layers = _wanted(path, config, model)
    if why := misfit(wanted, _shapes(path / ADAPTER_WEIGHTS), layers, trained_on(path)):
        raise ModelError(f"{path}: {why}")
    tensors = load_file(path / ADAPTER_WEIGHTS)
    _check_numbers(path, tensors)
    return AdapterTensors(config, tensors, _adds_nothing(config, tensors))


def _wanted(
    path: Path, config: LoraConfig, model: PreTrainedConfig | Path
) -> tuple[Shapes, set[str]]:
    """Shapes of the tensors that the config asks for, and the names of the model's modules."""
    if isinstance(model, Path):
        try:
            model = AutoConfig.from_pretrained(model, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{model}: its config cannot be read ({error})") from None
    with warnings.catch_warnings(), torch.device("meta"):  # shapes alone: no memory, no numbers
        warnings.simplefilter("ignore")
        empty = AutoModelForCausalLM.from_config(model, dtype=torch.float32)
        layers = {name for name, _ in empty.named_modules()}
        try:
            wrapped: Any = get_peft_model(empty, config, adapter_name=_NAME)
        except (ValueError, TypeError, RuntimeError, KeyError, AttributeError, re.error) as error:
            raise ModelError(
                f"{path}: does not fit the model (peft says: {_first_line(error)}); "
                f"it was trained on {trained_on(path)}"
            ) from None
        # "auto" would ask the hub whether the base's vocabulary has grown.
        made = get_peft_model_state_dict(wrapped, adapter_name=_NAME, save_embedding_layers=False)
    return {name: tuple(tensor.shape) for name, tensor in made.items()}, layers


def _shapes(file: Path) -> Shapes:
    try:
        with safe_open(file, "pt") as weights:
            return {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: not a safetensors file ({error})") from error


def _check_numbers(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    if odd := sorted(name for name, tensor in tensors.items() if tensor.dtype not in _FLOATS):
        raise ModelError(
            f"{path}: {odd[0]} is of type {str(tensors[odd[0]].dtype).removeprefix('torch.')} "
            f"({len(odd)} such); save the adapter in float32 or bfloat16"
        )
    if odd := sorted(name for name, tensor in tensors.items() if not tensor.isfinite().all()):
        raise ModelError(
            f"{path}: {odd[0]} holds values that are not numbers (NaN or infinite; {len(odd)} of "
            f"{len(tensors)} tensors do): its training has diverged, or the file is damaged"
        )


def _adds_nothing(config: LoraConfig, tensors: dict[str, torch.Tensor]) -> bool:
    if config.use_dora:  # whose layers have a length of their own
        return False
    alphas = (config.lora_alpha, *(config.alpha_pattern or {}).values())
    return not any(alphas) or not any(t.any() for n, t in tensors.items() if ".lora_B" in n)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
