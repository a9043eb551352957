"""Fragments and their caches: a text is tokenized once, and remembered within bounds."""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from promptrank.prompt.tokenizer import Ids, TextTokenizer, clean

Value = TypeVar("Value")


class Fragment:
    """A piece of prompt: its text, and its ids once they are known (`Fragments.flush`)."""

    __slots__ = ("ids", "text")

    def __init__(self, text: str, ids: Ids | None = None) -> None:
        self.text = text
        self.ids: Ids = ids  # type: ignore[assignment]


class Recent(Generic[Value]):
    """A bounded memory in two generations: what is not used for a whole generation is forgotten.

    Between half and all of ``limit`` (in units of ``size``) is kept; a hit costs one dict lookup.
    A limit of 0 remembers nothing.
    """

    def __init__(self, limit: int, size: Callable[[Value], int] = lambda _: 1) -> None:
        self._limit, self._size = limit / 2, size
        self._young: dict[Hashable, Value] = {}
        self._old: dict[Hashable, Value] = {}
        self._held = 0

    def get(self, key: Hashable) -> Value | None:
        """What is remembered under the key, or None."""
        value = self._young.get(key)
        if value is None and (value := self._old.get(key)) is not None:
            self.put(key, value)
        return value

    def put(self, key: Hashable, value: Value) -> None:
        """Remembers a value."""
        if not self._limit:
            return
        self._held += self._size(value)
        if self._held > self._limit:
            self._old, self._young = self._young, {}
            self._held = self._size(value)
        self._young[key] = value


class Fragments:
    """Makes fragments of texts; equal texts share one. New ones get their ids at the next flush.

    Attributes:
        encoded: how many were tokenized so far.
        reused: how often one was asked for that was there already.
    """

    def __init__(self, tokenizer: TextTokenizer, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        # Before its ids are known, a fragment counts by its characters.
        self._known: Recent[Fragment] = Recent(max_tokens, lambda f: 16 + len(f.text) // 3)
        self._pending: dict[str, Fragment] = {}
        self.encoded = self.reused = 0

    def of(self, text: str) -> Fragment:
        """The fragment of a text."""
        fragment = self._known.get(text)
        if fragment is None and (fragment := self._pending.get(text)) is None:
            fragment = self._pending[text] = Fragment(clean(text))
        else:
            self.reused += 1
        return fragment

    def flush(self) -> None:
        """Tokenizes every new fragment in one batch."""
        if not self._pending:
            return
        new, self._pending = self._pending, {}
        encoded: Sequence[Ids] = self._tokenizer.encode_batch([f.text for f in new.values()])
        for (text, fragment), ids in zip(new.items(), encoded, strict=True):
            fragment.ids = ids
            self._known.put(text, fragment)
        self.encoded += len(new)
