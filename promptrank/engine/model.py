"""A decoder from a folder: safetensors only, nothing downloaded, no code from the folder run."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import get_layer_types_and_kwargs
from transformers.utils import logging as transformers_logging

from promptrank.engine import attention
from promptrank.engine.fuse import fuse
from promptrank.errors import ModelError

_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load_model(path: Path, dtype: str) -> PreTrainedModel:
    """The model in ``path``, on the CPU, in eval mode, with `attention` as its attention.

    Raises:
        ModelError: no such folder, no config, no safetensors, or weights that do not fit.
    """
    if dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r}: not known; choose one of {', '.join(_DTYPES)}")
    _check_folder(path)
    attention.register()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=_DTYPES[dtype],
            attn_implementation=attention.NAME,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: cannot be loaded as a causal decoder ({first})") from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    model: PreTrainedModel = loaded[0]
    if missing := sorted(loaded[1]["missing_keys"]):
        raise ModelError(
            f"{path}: {len(missing)} weights are missing, the first is {missing[0]}; "
            "the files are incomplete or belong to another model"
        )
    model.eval()
    model.requires_grad_(False)
    if needs_eager(model):
        model.set_attn_implementation("eager")
    fuse(model)
    return model


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise ModelError(f"{path}: no such model folder; pull the model, or give a folder")
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path}: no config.json, so no model folder; give one saved as safetensors"
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"{path}: no safetensors file (other formats are not loaded); "
            "save the model with save_pretrained"
        )


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
    layer_types, layer_kwargs = get_layer_types_and_kwargs(config.get_text_config())
    windows = []
    for kind, kwargs in zip(layer_types, layer_kwargs, strict=True):
        if kind == "sliding_attention":
            windows.append(int(kwargs["sliding_window"]))
        elif kind != "full_attention":
            return 0
    return min(windows, default=None)


def vocab_size(model: PreTrainedModel) -> int:
    """Ids that the model can both read and write."""
    read = model.get_input_embeddings().num_embeddings
    head = model.get_output_embeddings()
    write = getattr(head, "out_features", read)
    return min(int(read), int(write))  # type: ignore[arg-type]


def model_digest(path: Path) -> str:
    """SHA-256 over the config and the safetensors files, in the order of their names."""
    files = [path / "config.json", *sorted(path.glob("*.safetensors"))]
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(
            f"{file.name} {_file_digest(file, stat.st_size, stat.st_mtime_ns)}\n".encode()
        )
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _file_digest(file: Path, _size: int, _mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelError: not there, or not an object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path}: expected an object, got {type(data).__name__}")
    return data
