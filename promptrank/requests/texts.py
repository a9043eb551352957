"""Fields as plain text, for what goes by words: BM25 and embeddings."""

from collections.abc import Collection, Iterator
from typing import Any

from promptrank.records import Fields


def text_of(fields: Fields, names: Collection[str] | None) -> str:
    """The texts among an item's fields, joined by blanks; a list of texts is one text.

    Args:
        names: which fields count, in this order; None for all, in the item's own order.
    """
    chosen = (fields.get(name) for name in names) if names is not None else fields.values()
    return " ".join(text for value in chosen for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        yield from (each for each in value if isinstance(each, str))
