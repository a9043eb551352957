"""What an ``adapter_config.json`` may ask for; anything else is refused, never passed over."""

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from peft import LoraConfig

from promptrank.errors import ModelError

# Keys that do not change what the saved weights mean, or that every engine follows.
_KNOWN = {
    "alpha_pattern",
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
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
}
_NEUTRAL: tuple[Any, ...] = (None, False, "none", [], {})
_INITIAL = (True, False, None, "gaussian", "orthogonal", "eva")

EMBEDDED = ("eva_config", "fan_in_fan_out", "lora_bias", "use_dora")
"""Options that peft follows and vLLM does not. No other one leaves the base model's weights, which
all requests share, as they are."""

# Which layers have an adapter, how large it is and how it is scaled.
_FOLLOWED = (
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "fan_in_fan_out",
)


def unserved(config: dict[str, Any], also: Collection[str] = ()) -> list[str]:
    """Options of an ``adapter_config.json`` that would be left out or misread.

    The engine stands by itself, so it has a list of its own; a test holds it together with
    ``promptrank.adapters.lora_options``, which refuses before an adapter is trained.

    Args:
        also: options that the engine at hand follows, beyond those that all follow.
    """
    odd = [
        f"{key}={value!r}"
        for key, value in sorted(config.items())
        if key not in _KNOWN | {"init_lora_weights", *also} and value not in _NEUTRAL
    ]
    if (started := config.get("init_lora_weights")) not in _INITIAL:
        odd.append(f"init_lora_weights={started!r}")
    return odd


def lora_config(path: Path, options: dict[str, Any]) -> LoraConfig:
    """The options as peft takes them.

    Raises:
        ModelError: a value that means nothing.
    """
    alphas = [options.get("lora_alpha", 8), *_values(options.get("alpha_pattern"))]
    ranks = [options.get("r", 8), *_values(options.get("rank_pattern"))]
    if any(type(rank) is not int or rank < 1 for rank in ranks):
        raise ModelError(f"{path}: adapter_config.json: r must be a whole number above 0")
    if any(type(a) not in (int, float) or not math.isfinite(a) for a in alphas):
        raise ModelError(f"{path}: adapter_config.json: lora_alpha must be a number")
    given = {name: options[name] for name in _FOLLOWED if options.get(name) is not None}
    try:
        return LoraConfig(
            bias="none", task_type="CAUSAL_LM", init_lora_weights=True, inference_mode=True, **given
        )
    except (TypeError, ValueError, AttributeError, re.error) as error:
        raise ModelError(f"{path}: adapter_config.json: peft does not take it ({error})") from None


def _values(pattern: Any) -> list[Any]:
    return list(pattern.values()) if isinstance(pattern, dict) else []
