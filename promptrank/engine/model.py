"""A decoder from a folder: safetensors only, nothing downloaded, no code from the folder run."""

from pathlib import Path
from types import MethodType
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from promptrank.engine import attention
from promptrank.engine.devices import TORCH_DTYPES, check_room, within_memory
from promptrank.engine.foreign_files import foreign
from promptrank.engine.int8 import quantize
from promptrank.engine.lean_layers import fuse, trim
from promptrank.engine.model_files import check_model_folder
from promptrank.engine.sliding import layer_windows, narrowest
from promptrank.errors import ModelError

_CPU = torch.device("cpu")


def load_model(
    path: Path, dtype: str, *, lean: bool = True, device: torch.device = _CPU
) -> PreTrainedModel:
    """The model in ``path``, in eval mode, with `attention` as its attention.

    Logits are float32 whatever the weights are.

    Args:
        lean: replace layers by those of `fuse`, which have no gradients.

    Raises:
        ModelError: no such folder, no config, no safetensors, weights that do not fit, a sliding
            window below 1, or a GPU that is too small.
    """
    check_model_folder(path)
    check_room(path, device, dtype)
    attention.register()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with foreign(path, "cannot be loaded as a causal decoder"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=TORCH_DTYPES[dtype],
                attn_implementation=attention.NAME,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    model: PreTrainedModel = loaded[0]
    if missing := sorted(loaded[1]["missing_keys"]):
        raise ModelError(
            f"{path}: {len(missing)} weights are missing, the first is {missing[0]}; "
            "the files are incomplete or belong to another model"
        )
    layer_windows(model.config, f"{path}/config.json")
    with within_memory(device, str(path), dtype):
        model.to(device)  # type: ignore[arg-type]
        widen_head(model)
    model.eval()
    model.requires_grad_(False)
    if needs_eager(model):
        model.set_attn_implementation("eager")
    if lean:
        fuse(model)
    model.reads_rows = lean and trim(model)  # type: ignore[assignment]
    if dtype == "int8":
        quantize(model, longest_path(model.config))
    return model


def widen_head(model: PreTrainedModel) -> None:
    """Let the output layer of a model in fewer bits compute in float32, with a copy of its weights.

    In bfloat16 logits near 20 would be 0.125 apart, and so would scores be.
    """
    head: Any = model.get_output_embeddings()
    if head is not None and head.weight.dtype != torch.float32:
        head.wide = head.weight.detach().float()
        head.forward = MethodType(_wide, head)


def _wide(self: Any, x: torch.Tensor) -> torch.Tensor:
    bias = self.bias.float() if self.bias is not None else None
    return torch.nn.functional.linear(x.float(), self.wide, bias)


def needs_eager(model: PreTrainedModel) -> bool:
    """Whether sdpa, and so our attention, would silently drop a part of the model's attention."""
    capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None
    return capped or not model._supports_sdpa


def longest_path(config: PreTrainedConfig) -> int | None:
    """Tokens a path may have under the model's positions; None where the config does not say."""
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return int(length) if length else None


def packed_window(config: PreTrainedConfig) -> int | None:
    """The longest path on which every layer is full attention; None for no limit, 0 for no path.

    Within a sliding window attention is full; linear, chunked and state-space layers never are.
    """
    windows = layer_windows(config)
    return 0 if windows is None else narrowest(windows)


def vocab_size(model: PreTrainedModel) -> int:
    """Ids that the model can both read and write."""
    read = model.get_input_embeddings().num_embeddings
    head = model.get_output_embeddings()
    write = getattr(head, "out_features", read)
    return min(int(read), int(write))  # type: ignore[arg-type]
