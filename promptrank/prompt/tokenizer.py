"""Text to token ids and back, so that fragments encoded apart join without a seam.

Three things a plain ``tokenizer(text)`` gets wrong for fragments are kept out here: special tokens
added to every piece, a dummy space before every piece (SentencePiece), and control tokens that a
user's text spells out.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from promptrank.engine.foreign_files import foreign
from promptrank.errors import ModelError
from promptrank.prompt.chat import Chat, split_chat
from promptrank.prompt.known_tokenizers import load_tokenizer
from promptrank.prompt.model_words import check_ids, wanted_bos
from promptrank.prompt.word_ids import Words, word_cut

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Ids = tuple[int, ...]

_ANCHORS = ("\n", ">", ")", ".")
"""What a text may stand behind while it is encoded, the first one first."""

_BLANK = re.compile(r"[\s▁]*")


class TextTokenizer:
    """A model's tokenizer as prompts need it; `open_tokenizer` makes one.

    Attributes:
        full: knows every token; for the chat wrapper and for decoding.
        bos: what the tokenizer puts before any text by itself; ``()`` for many models.
        wanted_bos: the id that every prompt of the model must begin with, if there is one.
        text_ids: those that texts may become; no control tokens.
        vocab_size: number of ids, added tokens included.
        fingerprint: SHA-256 over the tokenizer's definition.
    """

    def __init__(self, core: Tokenizer, wrapper: "PreTrainedTokenizerFast | None" = None) -> None:
        definition = core.to_str()
        self.full = Tokenizer.from_str(definition)
        self.full.no_truncation()
        self.full.no_padding()
        self._wrapper = wrapper
        self._data, self._control = _without_control(definition)
        self.vocab_size = core.get_vocab_size(with_added_tokens=True)
        self._anchor = _ANCHORS[0] if self._needs_anchor() else ""
        self._anchor_ids: list[int] = self._raw(self._anchor) if self._anchor else []
        known = core.get_vocab().values()
        # Ids above 256 are new objects each time; one shared object an id keeps caches small.
        self._shared = list(range(max(known, default=0) + 1))
        self.text_ids = frozenset(known) - self._control.keys()
        cut = None if self._anchor else word_cut(self._data)
        self._words = Words(self._data, cut, self._shared, self._control) if cut else None
        self.bos = self._bos()
        self.wanted_bos: int | None = None
        self.fingerprint = hashlib.sha256(definition.encode()).hexdigest()

    def encode(self, text: str) -> Ids:
        """Ids of a user's or a template's text; see `encode_batch`."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of texts that will be joined with others: nothing added, no control tokens.

        Texts must hold no unpaired surrogates (`clean`) and must not start with white space.
        """
        if self._words is None:
            return self._whole(texts)
        made = self._words.ids_of(texts)
        left = iter(self._whole([t for t, ids in zip(texts, made, strict=True) if ids is None]))
        return [next(left) if ids is None else ids for ids in made]

    def _whole(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of texts, each encoded at once."""
        if not texts:
            return []
        anchor, skip = self._anchor, len(self._anchor_ids)
        given = [anchor + t for t in texts] if anchor else texts
        encodings = self._data.encode_batch_fast(given, add_special_tokens=False)
        shared, control = self._shared.__getitem__, self._control
        result = []
        for text, encoding in zip(texts, encodings, strict=True):
            ids = encoding.ids
            if skip:
                ids = ids[skip:] if ids[:skip] == self._anchor_ids else self._behind(text)
            if not control.keys().isdisjoint(ids):
                ids = self._spelled(text, chain.from_iterable(control.values()))
            result.append(tuple(map(shared, ids)))
        return result

    def _behind(self, text: str) -> list[int]:
        """Ids of a text that the tokenizer merges with the usual anchor: behind another one."""
        for anchor in _ANCHORS:
            start = self._raw(anchor)
            ids = self._raw(anchor + text)
            if ids[: len(start)] == start:
                return ids[len(start) :]
        raise ModelError(f"the tokenizer merges {text[:20]!r} with whatever stands before it")

    def _spelled(self, text: str, names: Iterable[str]) -> list[int]:
        """Ids of a text in which every name of a control token is cut after its first character.

        For vocabularies whose own entries spell control tokens, where taking them out of the
        search for added tokens is not enough.
        """
        cuts = "|".join(f"(?<={re.escape(n[0])})(?={re.escape(n[1:])})" for n in names)
        return [i for part in re.split(cuts, text) for i in self._behind(part)]

    def encode_wrapper(self, text: str) -> Ids:
        """Ids of text that may hold control tokens: the chat wrapper's own, never a user's."""
        return tuple(self.full.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, control tokens included."""
        return str(self.full.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def chat(self) -> Chat:
        """The model's own chat wrapper as fragments; `ModelError` where it has none."""
        if self._wrapper is None or not self._wrapper.chat_template:
            raise ModelError(
                "the model has no chat template; set chat: false in the task, or take an "
                "instruction-tuned model"
            )
        return split_chat(self._wrapper, self.encode_wrapper, self.encode)

    def _raw(self, text: str) -> list[int]:
        ids: list[int] = self._data.encode(text, add_special_tokens=False).ids
        return ids

    def _needs_anchor(self) -> bool:
        """Whether text at the very beginning is encoded otherwise than after a line's end."""
        start = self._raw(_ANCHORS[0])
        return any(
            self._raw(_ANCHORS[0] + t) != start + self._raw(t) for t in ("a", "The", "(", "7")
        )

    def _bos(self) -> Ids:
        text = "a"
        bare = self.full.encode(text, add_special_tokens=False).ids
        whole = self.full.encode(text, add_special_tokens=True).ids
        for place in range(len(whole) - len(bare) + 1):
            if whole[place : place + len(bare)] == bare:
                return tuple(whole[:place])
        return ()


def open_tokenizer(model_path: str | Path) -> TextTokenizer:
    """The tokenizer of a model folder.

    Raises:
        ModelError: none can be loaded, or it is another model's.
    """
    with foreign(Path(model_path), "no tokenizer can be loaded"):
        tokenizer = load_tokenizer(Path(model_path))
        words = from_transformers(tokenizer, str(model_path))
    check_ids(Path(model_path), words.text_ids)
    words.wanted_bos = wanted_bos(Path(model_path), tokenizer.bos_token_id)
    return words


def from_transformers(tokenizer: Any, name: str = "the model") -> TextTokenizer:
    """A tokenizer that transformers has loaded already."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{name}: has only a slow tokenizer; save it with a tokenizer.json")
    return TextTokenizer(tokenizer.backend_tokenizer, tokenizer)


def clean(text: str) -> str:
    """The text with unpaired surrogates replaced, which no UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _without_control(definition: str) -> tuple[Tokenizer, dict[int, tuple[str, ...]]]:
    """The tokenizer for data text, and the control tokens (id -> texts) that it must never make.

    Added tokens are found by searching the text, so those with any ink are hidden; white space
    ones stay, since the model was trained with them. A vocabulary may hold the same strings as
    plain entries: they are renamed, or made unlikely, so that no whole word reaches them.
    """
    spec = json.loads(definition)
    spec.update(truncation=None, padding=None, post_processor=None)
    model = spec["model"]
    vocab, unknown = model.get("vocab"), model.get("unk_token")
    if isinstance(vocab, list) and model.get("unk_id") is not None:
        unknown = vocab[model["unk_id"]][0]
    inked = {t["content"]: t["id"] for t in spec["added_tokens"] if _has_ink(t)}
    inked.pop(unknown, None)
    plain = set(vocab) if isinstance(vocab, dict) else {t for t, _ in vocab or ()}
    kept = []
    for token in spec["added_tokens"]:
        if not _has_ink(token):
            kept.append(token)
        elif token["content"] not in plain:
            # Taken out, it would shift the ids of the added tokens behind it.
            kept.append({**token, "content": _hidden(token["id"]), "normalized": False})
    spec["added_tokens"] = kept
    if isinstance(vocab, dict):
        merges = (m.split(" ", 1) if isinstance(m, str) else m for m in model.get("merges", ()))
        # What merges make cannot be renamed; `TextTokenizer._spelled` is for these.
        renamed = inked.keys() - {"".join(m) for m in merges}
        model["vocab"] = {(_hidden(i) if t in renamed else t): i for t, i in vocab.items()}
    elif isinstance(vocab, list):
        least = min((score for _, score in vocab), default=0.0) - 10_000
        model["vocab"] = [[t, least if t in inked else score] for t, score in vocab]
    control: dict[int, tuple[str, ...]] = {i: (t, _hidden(i)) for t, i in inked.items()}
    return Tokenizer.from_str(json.dumps(spec, ensure_ascii=False)), control


def _has_ink(token: dict[str, Any]) -> bool:
    return not _BLANK.fullmatch(token["content"])


def _hidden(index: int) -> str:
    """A text that no data holds, in place of a control token's; `_spelled` if some data does."""
    return f"\ue000{index}\ue001"
