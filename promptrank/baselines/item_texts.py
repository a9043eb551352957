"""Items and requests as plain text, for the baselines that match texts: BM25 and embeddings."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from promptrank.baselines.liked import liked_events
from promptrank.evaluation.labelled import Label
from promptrank.records import Fields, Item, Request

NOTHING_WANTED = "no request has a query, a source item or a history to look for"
"""Why a baseline that matches texts cannot be made."""


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


@dataclass(frozen=True, slots=True)
class ItemTexts:
    """Which texts of an item count, and what a request looks for in them.

    Attributes:
        names: the fields; None for all that are texts.
        gain_of, relevant_at: which events of a history were liked.
    """

    names: Sequence[str] | None
    gain_of: Label
    relevant_at: float

    def of(self, item: Item) -> str:
        """The item's text."""
        return text_of(item.fields, self.names)

    def wanted(self, request: Request) -> list[str]:
        """What a request looks for: its query's words, else its source item, else what was liked.

        Of a history, the items whose label is relevant; all of them where no event has a label, as
        in a log of positives.
        """
        query = (request.subject.query or {}).get("text")
        if isinstance(query, str):
            return [query]
        if request.subject.source is not None:
            return [self.of(request.subject.source)]
        liked = liked_events(request, self.gain_of, self.relevant_at)
        return [self.of(event.item) for event in liked]


def looks_for_something(request: Request) -> bool:
    """Whether a request has a query in words, a source item or a history."""
    subject = request.subject
    words = isinstance((subject.query or {}).get("text"), str)
    return words or subject.source is not None or bool(request.history)


def items_of(request: Request) -> Iterator[Item]:
    """Every item of a request: its candidates, its history, its source."""
    yield from (candidate.item for candidate in request.candidates)
    yield from (event.item for event in request.history)
    if request.subject.source is not None:
        yield request.subject.source
