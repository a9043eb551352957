"""What a request looks for in the texts of its items, for BM25 and embeddings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptrank.baselines.liked import liked_events
from promptrank.evaluation.labelled import Label
from promptrank.records import Item, Request
from promptrank.requests.texts import text_of

NOTHING_WANTED = "no request has a query, a source item or a history to look for"
"""Why a baseline that matches texts cannot be made."""


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
