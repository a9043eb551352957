"""The tiny models are what other tests rest on, so they are tested first."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from support.models import Kind, make_model

TEXTS = ["Title: Star Wars (1977).\n", "  two  spaces\n\nand lines", "Amélie 漢字 🎬", "Yes"]


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3"])
def test_a_model_loads_is_repeatable_and_has_opinions(tmp_path: Path, kind: Kind) -> None:
    first = AutoModelForCausalLM.from_pretrained(make_model(tmp_path / "a", kind))
    second = AutoModelForCausalLM.from_pretrained(make_model(tmp_path / "b", kind))
    other = AutoModelForCausalLM.from_pretrained(make_model(tmp_path / "c", kind, seed=1))
    ids = torch.tensor([list(range(40, 70))])
    with torch.no_grad():
        logits = [model(ids).logits[0, -1] for model in (first, second, other)]
    assert first.config.model_type.startswith(kind)
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2], atol=0.1)
    # Log-probs differ by whole nats: a wrong mask cannot hide below a tolerance of 1e-4.
    assert logits[0].log_softmax(-1).std() > 1


def test_a_sliding_window_changes_what_is_beyond_it(tmp_path: Path) -> None:
    path = make_model(tmp_path / "g", "gemma3", sliding_window=8, num_hidden_layers=2)
    model = AutoModelForCausalLM.from_pretrained(path)
    wide = AutoModelForCausalLM.from_pretrained(path, sliding_window=4096)
    ids = torch.tensor([list(range(40, 80))])
    with torch.no_grad():
        narrow_logits, wide_logits = model(ids).logits[0], wide(ids).logits[0]
    assert torch.allclose(narrow_logits[:8], wide_logits[:8], atol=1e-4)
    assert not torch.allclose(narrow_logits[-1], wide_logits[-1], atol=1e-2)


@pytest.mark.parametrize("text", TEXTS)
def test_byte_level_tokenizer_round_trips(tiny_llama_path: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_path)
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_byte_level_tokenizer_is_shaped_as_smollm2(tiny_llama_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama_path)
    assert tokenizer.tokenize(" 5") == ["Ġ", "5"]
    assert tokenizer.tokenize("1995") == ["1", "9", "9", "5"]
    assert tokenizer.tokenize(" Yes") == ["ĠYes"]
    assert tokenizer("<|im_start|>").input_ids == [tokenizer.bos_token_id]
    chat: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_tokenizer_round_trips(tiny_sentencepiece_path: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_sentencepiece_path)
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_sentencepiece_tokenizer_puts_a_space_in_front(tiny_sentencepiece_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_sentencepiece_path)
    assert tokenizer.tokenize("Yes") == ["▁Yes"]
    assert tokenizer.tokenize("漢") == ["▁", "<0xE6>", "<0xBC>", "<0xA2>"]
    assert tokenizer.chat_template is None
