"""LoRA options that every engine can serve; anything else is refused before it is trained.

vLLM refuses some options of peft and silently drops those it does not know
(``vllm/lora/peft_helper.py``), so an option is allowed only if it is named here.
"""

from collections.abc import Callable, Mapping
from typing import Any

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
MAX_RANK = 512

# Options that only say how the weights came about, or which of them there are.
_HARMLESS = {
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",  # of use_qalora, which is refused
    "revision",
    "runtime_config",
    "task_type",
    "use_rslora",
}
# Inits that set the adapter's first weights and leave the base model's alone.
_INITS = {"gaussian", "eva", "orthogonal"}


def check_options(config: Mapping[str, Any]) -> list[str]:
    """Why an adapter with this ``adapter_config.json`` cannot be served; empty where it can.

    ``config`` may also be ``LoraConfig(...).to_dict()``.
    """
    problems = []
    for name, value in config.items():
        if name in _RULES:
            problem = _RULES[name](value)
        elif name in _HARMLESS or not value:
            problem = None
        else:
            problem = "it does not know this option and would silently ignore it"
        if problem is not None:
            problems.append(f"{name}={_shown(value)} cannot be served by vLLM: {problem}")
    return problems


def _rank(value: Any) -> str | None:
    fine = isinstance(value, int) and 1 <= value <= MAX_RANK
    return None if fine else f"ranks are 1 to {MAX_RANK}"


def _targets(value: Any) -> str | None:
    if not value or isinstance(value, str):
        return f"list the layers, of {', '.join(TARGETS)}"
    others = sorted(str(name) for name in value if str(name).rpartition(".")[2] not in TARGETS)
    return f"of these it serves {', '.join(TARGETS)}, not {', '.join(others)}" if others else None


def _init(value: Any) -> str | None:
    if isinstance(value, bool) or value is None or str(value).lower() in _INITS:
        return None
    return "this way of starting changes the base model's own weights; use true"


def _ranks(value: Any) -> str | None:
    bad = [rank for rank in (value or {}).values() if _rank(rank)]
    return f"ranks are 1 to {MAX_RANK}" if bad else None


def _never(reason: str) -> Callable[[Any], str | None]:
    return lambda value: reason if value else None


_RULES: dict[str, Callable[[Any], str | None]] = {
    "r": _rank,
    "target_modules": _targets,
    "init_lora_weights": _init,
    "rank_pattern": _ranks,
    "alpha_pattern": lambda value: None,
    "bias": lambda value: None if value == "none" else "it serves no trained biases; use none",
    "modules_to_save": _never("it serves LoRA layers only, no whole layers"),
    "use_dora": _never("it knows no DoRA"),
    "lora_bias": _never("it knows no LoRA biases"),
    "alora_invocation_tokens": _never("it knows no activated LoRA"),
    "layer_replication": _never("it does not replicate layers"),
    "use_bdlora": _never("it knows no block-diagonal LoRA"),
    "use_qalora": _never("it knows no QALoRA"),
    "fan_in_fan_out": _never("its layers keep weights as (out, in)"),
    "trainable_token_indices": _never("it serves no trained embeddings"),
    "target_parameters": _never("it serves LoRA on layers, not on bare parameters"),
}


def _shown(value: Any) -> str:
    text = repr(sorted(value) if isinstance(value, set | frozenset) else value)
    return text if len(text) < 60 else f"{text[:57]}..."
