"""An adapter folded into its base model: one model folder, for servers that know no adapters."""

import shutil
from pathlib import Path
from typing import Any

from promptrank.adapters.card import CARD, read_card
from promptrank.adapters.shelf import WEIGHTS
from promptrank.basics.files import beside
from promptrank.basics.owner import owned
from promptrank.basics.quiet import no_library_bars
from promptrank.errors import InputError, ModelError

TOLERANCE = 1e-3
"""Largest difference of any log-prob between merged weights and base with adapter, in float32."""

_TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
    "generation_config.json",
)


def merge(base: Path, adapter: Path, out: Path) -> float:
    """Write base + adapter in float32 to a new folder ``out``; the largest log-prob difference.

    The two are compared on a few prompts of random ids before ``out`` gets its name.

    Raises:
        InputError: ``out`` exists.
        ModelError: the adapter does not fit, or merging changed the scores.
    """
    try:
        with owned(out, "adapters merge"), beside(out) as part:
            if out.exists():
                raise InputError(f"{out}: exists already; name a new folder")
            part.mkdir()
            for pattern in _TOKENIZER:
                for file in base.glob(pattern):
                    shutil.copy2(file, part / file.name)
            with no_library_bars():
                difference = _merge(base, adapter, part)
            if not difference <= TOLERANCE:
                raise ModelError(
                    f"{adapter}: merged weights change log-probs by {difference:.1e} (at most "
                    f"{TOLERANCE:.0e} is fine); use the adapter as it is"
                )
            if read_card(adapter) is not None:
                shutil.copy2(adapter / CARD, part / CARD)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error})") from error
    return difference


def _merge(base: Path, adapter: Path, out: Path) -> float:
    import torch
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True}
    try:
        plain = AutoModelForCausalLM.from_pretrained(base, use_safetensors=True, **options)
        wrapped = PeftModel.from_pretrained(plain, str(adapter))
        # "auto" would ask the hub whether the base's vocabulary has grown.
        taken = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        given = load_file(adapter / WEIGHTS)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{adapter}: cannot be loaded onto {base} ({error})") from error
    if lost := sorted(given.keys() - taken.keys()):  # which peft passes over
        raise ModelError(f"{adapter}: {base} has no layer for its {lost[0]}")
    wrapped.eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, plain.config.get_text_config().vocab_size, (4, 32), generator=generator)
    with torch.no_grad():
        before = wrapped(input_ids=ids).logits.float().log_softmax(-1)
        merged = wrapped.merge_and_unload(safe_merge=True)
        merged.save_pretrained(out)
        written = AutoModelForCausalLM.from_pretrained(out, use_safetensors=True, **options).eval()
        after = written(input_ids=ids).logits.float().log_softmax(-1)
    return float((before - after).abs().max())
