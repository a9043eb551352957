"""A decoder from a folder: safetensors only, nothing downloaded, no code from the folder run."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from promptrank.engine import attention
from promptrank.engine.foreign_files import foreign
from promptrank.engine.lean_layers import fuse, trim
from promptrank.engine.model_files import check_model_folder
from promptrank.engine.sliding import layer_windows, narrowest
from promptrank.errors import ModelError

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load_model(path: Path, dtype: str, *, lean: bool = True) -> PreTrainedModel:
    """The model in ``path``, on the CPU, in eval mode, with `attention` as its attention.

    Args:
        lean: replace layers by those of `fuse`, which have no gradients.

    Raises:
        ModelError: no such folder, no config, no safetensors, weights that do not fit, or a
            sliding window below 1.
    """
    if dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r}: not known; choose one of {', '.join(_DTYPES)}")
    check_model_folder(path)
    attention.register()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with foreign(path, "cannot be loaded as a causal decoder"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=_DTYPES[dtype],
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
    model.eval()
    model.requires_grad_(False)
    if needs_eager(model):
        model.set_attn_implementation("eager")
    if lean:
        fuse(model)
    model.reads_rows = lean and trim(model)  # type: ignore[assignment]
    return model


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
