"""The baseline ``bm25``: how well the words of a candidate match what the request looks for.

Robertson and Zaragoza 2009, in Lucene's form, with the tokens and parameters of bm25s (lower case,
words of two characters and more, English stop words left out, no stemmer; k1 = 1.5, b = 0.75):

    sum over the query's words t: ln(1 + (N - n_t + .5) / (n_t + .5)) * f / (f + k1 (1 - b + b l/L))

f: how often t stands in the candidate's text of l words; N texts of L words on average, n_t of them
with t. bm25s itself scores the texts of its index only. Here the index is what was known before the
requests that are judged, and a candidate may be newer: so its statistics are applied to any text.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.baselines.item_texts import (
    NOTHING_WANTED,
    ItemTexts,
    items_of,
    looks_for_something,
)
from promptrank.ranking.values import Values
from promptrank.records import Request

K1, B = 1.5, 0.75
_CACHED = 65_536  # texts whose words are kept


@dataclass(frozen=True, slots=True)
class WordStatistics:
    """What BM25 knows of a collection.

    Attributes:
        texts: how many there are.
        length: words in one of them, on average.
        having: word -> in how many texts it stands.
    """

    texts: int
    length: float
    having: Mapping[str, int]

    def idf(self, word: str) -> float:
        """Weight of a word, always above 0; the rarer, the larger."""
        having = self.having.get(word, 0)
        return math.log(1 + (self.texts - having + 0.5) / (having + 0.5))


def words_of(text: str) -> list[str]:
    """A text's words, as bm25s takes them apart."""
    import bm25s

    (words,) = bm25s.tokenize([text], return_ids=False, show_progress=False)
    return list(words)


def statistics_of(texts: Iterable[str]) -> WordStatistics:
    """Statistics of a collection, one text after another."""
    having: Counter[str] = Counter()
    count = total = 0
    for text in texts:
        words = words_of(text)
        having.update(set(words))
        count, total = count + 1, total + len(words)
    return WordStatistics(count, total / count if count else 0.0, having)


class Bm25:
    """A fitted BM25."""

    def __init__(self, statistics: WordStatistics, texts: ItemTexts) -> None:
        self.statistics, self.texts = statistics, texts
        self._words = lru_cache(maxsize=_CACHED)(_counted)

    def rank(self, request: Request) -> Values:
        """Scores without probabilities.

        Over a history a score is the mean over its texts, so that a long one does not count for
        more. Who looks for nothing (no liked event yet) gives every candidate 0, the sum over no
        words: a tie.
        """
        wanted: Counter[str] = Counter()
        texts = self.texts.wanted(request)
        for text in texts:
            wanted.update(self._words(text)[0])
        weights = {word: times * self.statistics.idf(word) for word, times in wanted.items()}
        return Values(
            [
                self._score(weights, self.texts.of(candidate.item)) / max(1, len(texts))
                for candidate in request.candidates
            ]
        )

    def facts(self) -> dict[str, Any]:
        """What it used, for the report."""
        names = self.texts.names
        return {
            "fields": list(names) if names is not None else "all texts",
            "texts": self.statistics.texts,
        }

    def _score(self, weights: Mapping[str, float], text: str) -> float:
        words, length = self._words(text)
        norm = K1 * (1 - B + B * length / self.statistics.length)
        if len(words) < len(weights):
            shared = ((weights[w], f) for w, f in words.items() if w in weights)
        else:
            shared = ((weight, words[w]) for w, weight in weights.items() if w in words)
        return math.fsum(weight * f / (f + norm) for weight, f in shared)


def _counted(text: str) -> tuple[Mapping[str, int], int]:
    words = words_of(text)
    return Counter(words), len(words)


class Bm25Fit:
    """Learns from requests of split ``train``, shown one after another, or from a catalogue."""

    def __init__(self, aim: Aim) -> None:
        """Know of no text yet."""
        self._texts = aim.texts
        self._looked = False
        self._known: dict[str, None] = {}

    def add(self, request: Request) -> None:
        """Note the texts of a training request, and of any whether it looks for something."""
        self._looked = self._looked or looks_for_something(request)
        if request.split == "train":
            self._known.update(dict.fromkeys(self._texts.of(item) for item in items_of(request)))

    def fit(self, sources: Sources) -> Baseline:
        """The model, by the texts of all items that were known.

        Those of the training requests, each once, where there is no catalogue.
        """
        if not self._looked:
            return Baseline(None, NOTHING_WANTED)
        known = self._known if sources.catalogue is None else sources.catalogue()
        statistics = statistics_of(known)
        if not statistics.length:
            return Baseline(
                None, "there is no item table, and no item of the training requests has a text"
            )
        model = Bm25(statistics, self._texts)
        return Baseline(model.rank, facts=model.facts())
