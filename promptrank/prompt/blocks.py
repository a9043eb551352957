"""Blocks to fragments: white space made plain, the item's own fragment spliced in."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from promptrank.errors import RowError
from promptrank.prompt.fragments import Fragment, Fragments, Recent
from promptrank.prompt.template import SLOT_TEXT, Template
from promptrank.prompt.tokenizer import Ids, TextTokenizer
from promptrank.records import Item

Parts = tuple[Fragment, ...]


def ids_of(parts: Sequence[Fragment]) -> Ids:
    """Fragments' ids in a row."""
    if len(parts) == 1:
        return parts[0].ids
    return tuple(chain.from_iterable(p.ids for p in parts))


class Blocks:
    """The blocks of one template with one task's constants.

    Attributes:
        item_only: blocks that use nothing but ``item``; they are remembered by ``Item.key``.
    """

    def __init__(
        self,
        template: Template,
        constants: Mapping[str, Any],
        tokenizer: TextTokenizer,
        cache_tokens: int,
    ) -> None:
        self._template = template
        self._renderer = template.bind(constants)
        self._fragments = Fragments(tokenizer, cache_tokens)
        self._by_key: Recent[Parts] = Recent(cache_tokens, _size)
        self._reused = 0
        names = {block: use.names - {"vars", "super"} for block, use in template.uses.items()}
        self.item_only = frozenset(b for b, used in names.items() if used <= {"item"})

    def slot(self, block: str) -> bool:
        """Whether the block holds ``{{ self.item() }}``."""
        use = self._template.uses.get(block)
        return use is not None and use.slot

    def of_item(
        self, block: str, item: Item, values: Mapping[str, Any], *more: str | None
    ) -> Parts:
        """A block that depends on nothing but the item and ``more``, remembered by these."""
        if item.key is None:
            return self.render(block, values, item)
        key = (block, item.key, *more)
        parts = self._by_key.get(key)
        if parts is None:
            parts = self.render(block, values, item)
            self._by_key.put(key, parts)
        else:
            self._reused += len(parts)
        return parts

    def render(self, block: str, values: Mapping[str, Any], item: Item | None = None) -> Parts:
        """A block's fragments; none where the template lacks the block or it renders nothing.

        White space around the text is removed and one line's end put behind it; behind the block
        ``question`` there is none, since an answer follows.
        """
        if block not in self._template.uses or block in self._template.left_out:
            return ()
        pieces = self._renderer.render(block, values)
        if self.slot(block):
            assert item is not None, "only blocks that have an item may hold its slot"
            return self._spliced(block, pieces, item)
        text = "".join(pieces).strip()
        if not text:
            return self._empty(block)
        return (self._fragments.of(text if block == "question" else text + "\n"),)

    def _spliced(self, block: str, pieces: Sequence[str], item: Item) -> Parts:
        """The text around the item's fragments, each piece of it a fragment of its own."""
        texts = [""]
        for piece in pieces:
            if piece is SLOT_TEXT:
                texts.append("")
            else:
                texts[-1] += piece
        fragments: list[Fragment] = []
        for place, text in enumerate(texts):
            first, last = place == 0, place == len(texts) - 1
            above, below = text.rstrip(" \t"), text.lstrip(" \t")
            if (not last and not above.endswith(("\n", "")[not above])) or (
                not first and not below.startswith(("\n", "")[not below])
            ):
                raise RowError(
                    "template", f"{self._where(block)}: self.item() must stand on its own line"
                )
            if not first:
                fragments += self.of_item("item", item, {"item": item.fields})
            text = text.strip()
            if not text and last and block == "question":
                fragments += self._empty(block)
            elif text:
                ending = "" if last and block == "question" else "\n"
                fragments.append(self._fragments.of(text + ending))
        return tuple(fragments)

    def _empty(self, block: str) -> Parts:
        if block != "question":
            return ()
        raise RowError(
            "empty_question", f"{self._where(block)}: end it with a text such as Answer:"
        )

    def _where(self, block: str) -> str:
        return f"template {self._template.files[block]}, block {block}"

    def flush(self) -> None:
        """Tokenizes, in one batch, what was rendered since the last call."""
        self._fragments.flush()

    @property
    def encoded(self) -> int:
        """How many fragments were tokenized so far."""
        return self._fragments.encoded

    @property
    def reused(self) -> int:
        """How often a fragment was wanted that was tokenized, or waited for it, already."""
        return self._fragments.reused + self._reused


def _size(parts: Parts) -> int:
    return sum((16 + len(p.text) // 3 for p in parts), 16)
