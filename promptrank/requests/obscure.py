"""Requests whose texts are made up: the control that tells ranking from remembering.

A decoder may have read about "The Godfather" before any task of yours. Where every distinct title
is replaced by a made-up one, the same everywhere, the decoder has all that the prompt says, but not
what it remembers of the film.

A made-up text depends on the original as a whole, by a keyed hash: two titles that share a word
share nothing afterwards. It has as many words as the original, each about as long (at least four
letters), with capitals where the original had them. No two originals become the same text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.records import EMPTY, Fields, Item, Request

_ONSETS = (
    "b",
    "d",
    "f",
    "g",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "z",
    "br",
    "kl",
    "pr",
    "st",
)
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_WORD = re.compile(r"\w+")
_ROOTS = ("item", "member", "query")
_CACHED = 65_536  # items


class Obscuring:
    """Replaces the texts of fields, the same text by the same made-up one wherever it stands.

    An item's fields are those of candidates, of events in the history and of a source item.

    Attributes:
        fields: which, such as ``item.title``.
    """

    def __init__(self, fields: Sequence[str], seed: int = 0) -> None:
        """Choose fields.

        Raises:
            InputError: no field of an item, a member or a query.
        """
        for field in fields:
            root, dot, name = field.partition(".")
            if root not in _ROOTS or not dot or not name:
                hint = near(root, _ROOTS)
                raise InputError(
                    f"--obscure {field}: write a field of item, member or query, such as "
                    f"item.title; {hint}"
                )
        self.fields = tuple(dict.fromkeys(fields))
        self._names = {
            root: [f.removeprefix(f"{root}.") for f in self.fields if f.startswith(f"{root}.")]
            for root in _ROOTS
        }
        self._key = f"promptrank obscure {seed}".encode()
        self._made: dict[str, str] = {}
        self._taken: set[str] = set()
        self._kept = lru_cache(maxsize=_CACHED)(self._fresh)

    def __call__(self, request: Request) -> Request:
        """The same request with made-up texts.

        Raises:
            InputError: a field that holds something else than texts.
        """
        subject = request.subject
        source = self._item(subject.source) if subject.source is not None else None
        return replace(
            request,
            subject=replace(
                subject,
                member=self._shared("member", subject.member),
                query=self._shared("query", subject.query),
                source=source,
            ),
            candidates=tuple(replace(c, item=self._item(c.item)) for c in request.candidates),
            history=tuple(replace(e, item=self._item(e.item)) for e in request.history),
        )

    def text(self, original: str) -> str:
        """The made-up text that stands for an original one."""
        made = self._made.get(original)
        attempt = 0
        while made is None:
            text = self._text(original, attempt)
            attempt += 1
            if text not in self._taken:
                made = self._made[original] = text
                self._taken.add(text)
        return made

    def missing_from(self, requests: Sequence[Request]) -> str | None:
        """The first field that none of the requests has, as a message; None where all are there."""
        for field in self.fields:
            root, _, name = field.partition(".")
            names = dict.fromkeys(n for r in requests for fields in _of(root, r) for n in fields)
            if name not in names:
                told = near(name, names) if names else f"there is no {root} at all"
                return f"--obscure {field}: no {root} of these requests has a field {name}; {told}"
        return None

    def _item(self, item: Item) -> Item:
        if not self._names["item"]:
            return item
        if item.key is None:
            return Item(item.item_id, self._changed("item", item.fields))
        return self._kept(_Keyed(item))

    def _fresh(self, keyed: "_Keyed") -> Item:
        item = keyed.item
        # Equal keys mean equal fields, and these fields are new.
        key = ("obscured", self.fields, self._key, item.key)
        return Item(item.item_id, self._changed("item", item.fields), key)

    def _shared(self, root: str, fields: Fields | None) -> Fields | None:
        return fields if fields is None else self._changed(root, fields)

    def _changed(self, root: str, fields: Fields) -> Fields:
        new = {
            name: self._value(f"{root}.{name}", fields[name])
            for name in self._names[root]
            if name in fields
        }
        return {**fields, **new}

    def _value(self, field: str, value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, str):
            return self.text(value) if value else value
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return [self.text(each) if each else each for each in value]
        raise InputError(
            f"--obscure {field}: it holds {type(value).__name__}, and only texts can be made up"
        )

    def _text(self, original: str, attempt: int) -> str:
        draw = _draws(self._key, f"{attempt}\0{original}")
        words = _WORD.findall(original) or [original]
        if attempt > 3:  # so short that all its like are taken
            words = [*words, "x" * attempt]
        return " ".join(_word(word, draw) for word in words)


class _Keyed:
    """An item that is told from others by its key."""

    def __init__(self, item: Item) -> None:
        self.item = item

    def __hash__(self) -> int:
        return hash(self.item.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and other.item.key == self.item.key


def _of(root: str, request: Request) -> list[Mapping[str, Any]]:
    subject = request.subject
    if root == "item":
        source = [subject.source.fields] if subject.source is not None else []
        events = [event.item.fields for event in request.history]
        return [*(c.item.fields for c in request.candidates), *events, *source]
    return [(subject.member if root == "member" else subject.query) or EMPTY]


def _draws(key: bytes, text: str) -> Callable[[int], int]:
    """Numbers below a bound, one after another, decided by key and text alone."""
    number = 0
    told = text.encode("utf-8", "surrogatepass")

    def draw(bound: int) -> int:
        nonlocal number
        number += 1
        digest = blake2b(told, key=key, salt=number.to_bytes(8, "little"), digest_size=8).digest()
        return int.from_bytes(digest, "little") % bound

    return draw


def _word(original: str, draw: Callable[[int], int]) -> str:
    """A word that can be said, about as long as the original and in its case."""
    word = ""
    while len(word) < max(4, min(len(original), 12) - 1):
        word += _ONSETS[draw(len(_ONSETS))] + _VOWELS[draw(len(_VOWELS))]
    if len(original) > 1 and original.isupper():
        return word.upper()
    return word.capitalize() if original[:1].isupper() else word
