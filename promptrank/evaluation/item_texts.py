"""Items and requests as plain text, for baselines that match words: BM25 and embeddings."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from promptrank.evaluation.labelled import Label
from promptrank.records import Candidate, Event, Fields, Item, Request


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
        history = request.history
        if any(event.outcomes for event in history):
            history = tuple(event for event in history if self._liked(event))
        return [self.of(event.item) for event in history]

    def _liked(self, event: Event) -> bool:
        gain = self.gain_of(Candidate("", event.item, outcomes=event.outcomes))
        return gain is not None and gain >= self.relevant_at


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
