"""The baseline ``bm25``: `promptrank.basics.bm25_formula` over what was known before the requests.

Its words are counted in the texts of the training requests, or of a catalogue; a candidate may be
newer than they are.
"""

from typing import Any

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.baselines.item_texts import (
    NOTHING_WANTED,
    ItemTexts,
    items_of,
    looks_for_something,
)
from promptrank.basics.bm25_formula import WordMatch, WordStatistics, statistics_of
from promptrank.ranking.values import Values
from promptrank.records import Request


class Bm25:
    """A fitted BM25."""

    def __init__(self, statistics: WordStatistics, texts: ItemTexts) -> None:
        self.statistics, self.texts = statistics, texts
        self._match = WordMatch(statistics)

    def rank(self, request: Request) -> Values:
        """Scores without probabilities.

        Who looks for nothing (no liked event yet) gives every candidate 0: a tie.
        """
        texts = (self.texts.of(candidate.item) for candidate in request.candidates)
        return Values(list(self._match.scores(self.texts.wanted(request), texts)))

    def facts(self) -> dict[str, Any]:
        """What it used, for the report."""
        names = self.texts.names
        return {
            "fields": list(names) if names is not None else "all texts",
            "texts": self.statistics.texts,
        }


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
