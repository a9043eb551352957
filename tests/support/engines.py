"""Tiny random decoders, adapters on them, and the engines over them that the contract is run on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB = 97
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    # Large weights: with the usual small ones a wrong mask hardly moves a score.
    "initializer_range": 0.3,
}


def llama(**changes: Any) -> PreTrainedModel:
    """A Llama-shaped model."""
    return _made(LlamaForCausalLM, LlamaConfig, changes)


def qwen3(**changes: Any) -> PreTrainedModel:
    """A Qwen3-shaped model: normed queries and keys."""
    return _made(Qwen3ForCausalLM, Qwen3Config, changes)


def gemma3(**changes: Any) -> PreTrainedModel:
    """A Gemma3-shaped model: a sliding window of 64, every second layer full, two ropes."""
    shape = {
        "sliding_window": 64,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    }
    return _made(Gemma3ForCausalLM, Gemma3TextConfig, shape | changes)


MODELS: dict[str, Callable[..., PreTrainedModel]] = {
    "llama": llama,
    "qwen3": qwen3,
    "gemma3": gemma3,
}


def _made(kind: Any, config: Any, changes: dict[str, Any]) -> PreTrainedModel:
    torch.manual_seed(7)
    model: PreTrainedModel = kind(config(**(SIZES | changes))).eval()
    with torch.no_grad():
        # Norm weights are all equal at the start: a mistake in them would not show.
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(torch.randn_like(weight) * 0.2)
    return model


def saved(model: PreTrainedModel, folder: Path) -> Path:
    """The model as a folder of safetensors."""
    model.save_pretrained(folder)
    return folder


def adapter(model: PreTrainedModel, folder: Path, seed: int) -> Path:
    """A LoRA adapter with random weights, which therefore changes scores; ``model`` is spent."""
    torch.manual_seed(seed)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    wrapped = get_peft_model(model, config)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.2)
    wrapped.save_pretrained(str(folder))
    return folder
