"""Ids of texts word by word, for tokenizers whose words do not see each other.

Byte-level tokenizers cut a text by a regular expression and turn each word into ids by itself. So
what a word becomes can be remembered, and a text of known words costs a search and a few look-ups
in place of all its merges. Prompts repeat whole lines as well ("Share of viewers who liked it:
53%"), of which not even the words are looked for again. This is done where the ids are certain to
be the same: for the expressions of `_known`, and for texts in ASCII, in which letters, digits and
white space are the same set to every library.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from itertools import chain
from typing import Any

from tokenizers import Tokenizer

Ids = tuple[int, ...]

MOST_WORDS = 50_000
"""Words that are remembered, and lines; then all are forgotten."""

LONGEST = 64
"""Characters of a word that is worth remembering; texts with longer ones go the usual way."""

LONGEST_LINE = 100
"""Characters of a line that is worth remembering: longer ones seldom repeat, and take room."""

_GPT2 = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"  # Radford 2019
)
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace("{1,3}", "")


class Words:
    """Texts to ids by the lines and words that they are made of."""

    def __init__(
        self,
        core: Tokenizer,
        cut: Callable[[str], list[str]],
        shared: Sequence[int],
        control: Collection[int],
    ) -> None:
        """Know no word yet.

        Args:
            core: the tokenizer, which adds nothing to a text.
            cut: a text's words.
            shared: one object for each id.
            control: ids that no text may become; words that have one are not known.
        """
        self._core, self._cut, self._shared, self._control = core, cut, shared, frozenset(control)
        self._ids: dict[str, Ids] = {}
        self._lines: dict[str, Ids] = {}

    def ids_of(self, texts: Sequence[str]) -> list[Ids | None]:
        """The ids of each text; None where it has to go the usual way."""
        made = [self._of_lines(text) if text.isascii() else None for text in texts]
        missing = [n for n, ids in enumerate(made) if ids is None and texts[n].isascii()]
        if missing:
            self._learn({word for n in missing for word in self._cut(texts[n])})
            for n in missing:
                made[n] = self._of_lines(texts[n])
        return made

    def _of_lines(self, text: str) -> Ids | None:
        """A text's ids; None where a word of it is not known."""
        parts: list[Ids] = []
        for line in text.splitlines(keepends=True):
            ids = self._lines.get(line)
            if ids is None:
                if not _is_apart(line):
                    return self._of_words(text)
                ids = self._of_words(line)
                if ids is None:
                    return None
                if len(line) <= LONGEST_LINE:
                    if len(self._lines) >= MOST_WORDS:
                        self._lines = {}  # another thread may still look into the old ones
                    self._lines[line] = ids
            parts.append(ids)
        return tuple(chain.from_iterable(parts))

    def _of_words(self, text: str) -> Ids | None:
        try:
            return tuple(chain.from_iterable(map(self._ids.__getitem__, self._cut(text))))
        except KeyError:
            return None

    def _learn(self, words: set[str]) -> None:
        known = self._ids
        new = [word for word in words - known.keys() if len(word) <= LONGEST]
        if len(known) + len(new) > MOST_WORDS:
            known = self._ids = {}
            new = [word for word in words if len(word) <= LONGEST]
        shared = self._shared.__getitem__
        encoded = self._core.encode_batch_fast(new, add_special_tokens=False)
        for word, encoding in zip(new, encoded, strict=True):
            if self._control.isdisjoint(encoding.ids):
                known[word] = tuple(map(shared, encoding.ids))


def _is_apart(line: str) -> bool:
    """Whether no word goes beyond a line, whatever comes before it and behind.

    White space at its ends might be one word with more of it. A single line break between two other
    characters ends a word in all expressions of `_known`.
    """
    text = line.removesuffix("\n")
    return bool(text) and not (text[0].isspace() or text[-1].isspace())


def word_cut(core: Tokenizer) -> Callable[[str], list[str]] | None:
    """What cuts texts in ASCII into words as the tokenizer does; None where that is not known."""
    definition = json.loads(core.to_str())
    if any(token["content"].isascii() for token in definition["added_tokens"]):
        return None  # they are looked for in the whole text
    if definition["normalizer"] not in (None, {"type": "NFC"}):
        return None
    pattern = _known(definition["pre_tokenizer"])
    return None if pattern is None else re.compile(pattern, re.ASCII).findall


def _known(pre_tokenizer: Any) -> str | None:
    """The expression for words in ASCII; None where it is not one of those that are known."""
    match pre_tokenizer:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return _in_ascii(_GPT2)
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
            ],
        }:
            # A text ends before each digit, so white space there is a word of its own.
            apart = _GPT2.replace(r" ?\p{N}+", r"\p{N}").replace(r"(?!\S)", r"(?![^\s\p{N}])")
            return _in_ascii(apart)
        case {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": str(pattern)},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        } if pattern in (_LLAMA3, _QWEN2):
            return _in_ascii(pattern)
    return None


def _in_ascii(pattern: str) -> str:
    """The expression with its classes of Unicode cut down to ASCII."""
    for name, characters in ((r"\p{L}", "A-Za-z"), (r"\p{N}", "0-9")):
        parts = re.split(r"(\[[^\]]*\])", pattern)  # every second one is a class of characters
        parts[0::2] = [part.replace(name, f"[{characters}]") for part in parts[0::2]]
        parts[1::2] = [part.replace(name, characters) for part in parts[1::2]]
        pattern = "".join(parts)
    return pattern
