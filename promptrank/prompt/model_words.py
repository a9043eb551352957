"""A model's tokenizer held against the model it lies beside: its ids, and how texts begin.

Files of several models get mixed, and conversions lose what they do not know: both give scores, and
the scores mean nothing.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from promptrank.engine.limits import model_limits
from promptrank.engine.plain_json import read_json
from promptrank.errors import ModelError

_BEGIN = ("gemma",)
"""Model types, by how they begin, that were trained with BOS before every text."""

_SHARE = 2  # an embedding table has rows to spare (3% in the models tried), but not twice as many


def check_ids(folder: Path, text_ids: Collection[int]) -> None:
    """Hold the ids that texts may become against the model's embeddings.

    Args:
        text_ids: those of all words; control tokens, which no text becomes, may lie beyond (Gemma
            3's mark for an image does).

    Raises:
        ModelError: the tokenizer is another model's.
    """
    if not (folder / "config.json").is_file():
        return
    rows, largest = model_limits(folder).vocab, max(text_ids, default=-1)
    then = "the tokenizer belongs to another model: get config, weights and tokenizer of one model"
    if largest >= rows:
        raise ModelError(
            f"{folder}: the tokenizer makes ids up to {largest:,}, and the model has embeddings "
            f"for {rows:,}; {then}"
        )
    if _SHARE * len(text_ids) < rows:
        raise ModelError(
            f"{folder}: the tokenizer knows {len(text_ids):,} words, and the model has embeddings "
            f"for {rows:,}; {then}"
        )


def wanted_bos(folder: Path, own: int | None) -> int | None:
    """The id that every text begins with by what the model says of itself; None if it says none.

    It says so in its tokenizer's config (``add_bos_token``, as in GGUF files), or by its type. That
    it has a BOS at all says nothing: SmolLM2's and Qwen3's stand in the chat template, or nowhere.

    Args:
        own: the tokenizer's BOS, None for none. It comes before the one in ``config.json``, with
            which generation begins: the texts that the model learned from were begun by its
            tokenizer.
    """
    config, words = _object(folder / "config.json"), _object(folder / "tokenizer_config.json")
    text = config.get("text_config") or config
    kind = text.get("model_type") if isinstance(text, dict) else None
    if words.get("add_bos_token") is True or str(kind).startswith(_BEGIN):
        bos = config.get("bos_token_id", text.get("bos_token_id")) if own is None else own
        return bos if type(bos) is int else None
    return None


def _object(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
