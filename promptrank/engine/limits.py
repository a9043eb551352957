"""What a model folder says about itself, read without loading torch."""

import json
from dataclasses import dataclass
from pathlib import Path

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
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        text = config.get("text_config") or config
        longest = int(text.get("max_position_embeddings") or UNSTATED)
        return ModelLimits(longest, int(text["vocab_size"]))
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelError(f"{file}: cannot be read ({error}); is it a model folder?") from None
