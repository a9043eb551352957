"""From a GGUF file, with a tokenizer put right, to an ordinary model folder."""

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from promptrank.basics.quiet import no_library_bars


def convert_gguf(gguf_path: Path, folder: Path, mend: Callable[[Any], None]) -> None:
    """Write config, float32 safetensors and tokenizer to ``folder``.

    Args:
        mend: sets in the tokenizer what transformers does not read from the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, file = str(gguf_path.parent), gguf_path.name
    # Reading GGUF draws a bar of tqdm's own, which cannot be told to be quiet.
    with no_library_bars(), redirect_stderr(StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
        mend(tokenizer)
        model = AutoModelForCausalLM.from_pretrained(
            source,
            gguf_file=file,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
