"""What a model folder says about itself, read without loading torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptrank.engine.plain_json import read_json
from promptrank.errors import ModelError

UNSTATED = 4096
"""Taken as the longest prompt of a model whose config states none (some state-space models)."""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """The longest path in tokens, and the number of ids."""

    max_tokens: int
    vocab: int


def model_limits(path: Path) -> ModelLimits:
    """Limits by the model's config.

    Raises:
        ModelError: no config, or one that cannot be read.
    """
    file = path / "config.json"
    config = read_json(file)
    text = config.get("text_config") or config
    if not isinstance(text, dict):
        raise ModelError(f"{file}: text_config is no object; is it a model folder?")
    longest = text.get("max_position_embeddings") or UNSTATED
    return ModelLimits(
        _count(longest, file, "max_position_embeddings"),
        _count(text.get("vocab_size"), file, "vocab_size"),
    )


def _count(value: Any, file: Path, key: str) -> int:
    number = type(value) in (int, float) and 1 <= value < 1 << 53
    if not number or value != int(value):
        raise ModelError(f"{file}: {key} is {str(value)[:40]}, not a count; is it a model folder?")
    return int(value)
