"""A request's history as columns."""

import math
from collections.abc import Callable, Mapping

from promptrank.records import Item, Request
from promptrank.schema.parts import Question
from promptrank.students import field_values as f

_NAN = float("nan")


class HistoryColumns:
    """A request's history, summed up once for all its candidates."""

    def __init__(
        self,
        request: Request,
        question: Question,
        worth: Mapping[str, float],
        words_of: Callable[[Item], tuple[f.Words, ...]],
    ) -> None:
        events = request.history
        worths = [f.event_worth(event, question, worth) for event in events]
        self.mean = sum(worths) / len(worths) if worths else _NAN
        last = max((e.time for e in events if e.time is not None), default=None)
        since = request.time - last if request.time is not None and last is not None else _NAN
        self.shared = [float(len(events)), self.mean, since]
        self.items: dict[str, tuple[int, float]] = {}
        self.words: list[dict[str, tuple[int, float]]] = []
        for event, value in zip(events, worths, strict=True):
            count, total = self.items.get(event.item.item_id, (0, 0.0))
            self.items[event.item.item_id] = (count + 1, total + value)
            for place, words in enumerate(words_of(event.item)):
                if place == len(self.words):
                    self.words.append({})
                table = self.words[place]
                for word in words:
                    count, total = table.get(word, (0, 0.0))
                    table[word] = (count + 1, total + value - self.mean)

    def columns(self, item_id: str, texts: tuple[f.Words, ...]) -> list[float]:
        count, total = self.items.get(item_id, (0, 0.0))
        row = [*self.shared, float(count), total / count if count else _NAN]
        for place, words in enumerate(texts):
            if not words or not self.words:
                row += (_NAN, _NAN)
                continue
            table = self.words[place]
            known = [table[word] for word in words if word in table]
            # Words are a set, whose order is another in every process: an exact sum has none.
            row.append(math.fsum(total / (n + 1) for n, total in known) / len(words))
            row.append(len(known) / len(words))
        return row
