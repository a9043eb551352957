"""Sentence embeddings: a BERT's mean over its last layer's tokens, at length 1.

The folder is laid out as sentence-transformers lays it out, and is held against that: it must say
that its modules are a transformer, a mean over tokens and a normalisation, since another pooling
would give other vectors without a word. ``transformers`` computes them; no code of the folder runs.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptrank.basics.digests import file_digest, json_digest
from promptrank.basics.json_files import json_object, read_json
from promptrank.basics.quiet import no_library_bars
from promptrank.engine.foreign_files import foreign
from promptrank.errors import ModelError

_MODULES = ["Transformer", "Pooling", "Normalize"]
_FILES = ("config.json", "model.safetensors", "tokenizer.json")
_BATCH = 32
_CACHED = 32_768
_AGAIN = "get the model again"

Vectors = NDArray[np.float32]


class Sentences:
    """Texts to vectors; on the CPU, in float32.

    Attributes:
        longest: tokens of a text that count, its two control tokens among them; the rest is cut.
        size: of a vector.
    """

    def __init__(self, folder: Path) -> None:
        """Open a model's folder.

        Raises:
            ModelError: a file is missing, or the folder says that its vectors are made otherwise.
        """
        self.folder = folder
        for name in _FILES:
            if not (folder / name).is_file():
                raise ModelError(f"{folder}: has no {name}; {_AGAIN}")
        self.longest = check_layout(folder)
        self._tokenizer, self._model = _open(folder, self.longest)
        self.size = int(self._model.config.hidden_size)
        self._known: dict[str, Vectors] = {}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the files that make a vector."""
        return json_digest([file_digest(self.folder / name) for name in _FILES])

    def vectors(self, texts: list[str]) -> Vectors:
        """(texts, size), each of length 1; a text without any word is all zeros.

        The latest 32,768 texts are kept, about 50 MB.
        """
        kept = self._known  # another thread may put a new one in its place
        known = {text: kept[text] for text in set(texts) if text in kept}
        # Of similar length side by side, so that little is padded.
        todo = sorted({text for text in texts if text not in known}, key=lambda t: (len(t), t))
        for start in range(0, len(todo), _BATCH):
            batch = todo[start : start + _BATCH]
            known |= zip(batch, self._embedded(batch), strict=True)
        if len(kept) + len(todo) > _CACHED:
            kept = self._known = {}
        kept.update((text, known[text]) for text in todo)
        rows = [known[text] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.size)

    def _embedded(self, texts: list[str]) -> Vectors:
        import torch

        encoded = self._tokenizer.encode_batch(texts)
        ids = torch.tensor([each.ids for each in encoded])
        mask = torch.tensor([each.attention_mask for each in encoded])
        with torch.inference_mode():
            last = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(last.dtype)
            mean = (last * weight).sum(1) / weight.sum(1)
            vectors: Vectors = torch.nn.functional.normalize(mean, dim=1).numpy()
        words = np.array([bool(text.strip()) for text in texts])
        return np.where(words[:, None], vectors, np.float32(0))


def check_layout(folder: Path) -> int:
    """How many tokens of a text count.

    Raises:
        ModelError: vectors of this folder are made otherwise than by a mean over tokens.
    """

    def read(name: str) -> Any:
        return read_json(folder / name, error=ModelError, then=_AGAIN)

    kinds = _modules(folder / "modules.json")
    pooling = read("1_Pooling/config.json")
    modes = sorted(name for name, on in pooling.items() if name.startswith("pooling") and on)
    if kinds != _MODULES or modes != ["pooling_mode_mean_tokens"]:
        raise ModelError(
            f"{folder}: its vectors are made by {', '.join(kinds) or 'nothing'} and "
            f"{', '.join(modes) or 'no pooling'}; only a mean over tokens at length 1 is known here"
        )
    longest = read("sentence_bert_config.json").get("max_seq_length")
    if not isinstance(longest, int) or longest < 3:
        raise ModelError(f"{folder}/sentence_bert_config.json: no max_seq_length; {_AGAIN}")
    return longest


def _modules(path: Path) -> list[str]:
    """Names of the modules that make a vector, in their order."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from None
    whole = b'{"modules": ' + data + b"}"  # the file holds a list, and what is checked is an object
    given = json_object(whole, str(path), error=ModelError, then=_AGAIN)["modules"]
    rows = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    return [str(each.get("type", "")).rpartition(".")[2] for each in rows]


def _open(folder: Path, longest: int) -> tuple[Any, Any]:
    """Tokenizer and model."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    with foreign(folder, "cannot be loaded as a BERT"), no_library_bars():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        loaded: Any = BertModel.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"{folder}: has no weights {missing[0]}; {_AGAIN}")
    # The file pads every text to 128 tokens, which would cost much and change nothing.
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=model.config.pad_token_id or 0)
    model.eval()
    model.requires_grad_(False)
    return tokenizer, model
