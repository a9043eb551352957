"""The baseline ``embedding``: cosine between sentence embeddings of what is wanted and of an item.

The texts are those of BM25 (`promptrank.baselines.item_texts`), so the two differ in one thing
only: whether words must be the same or may mean the same. Over a history a score is the mean cosine
over its texts. Who looks for nothing gives every candidate 0, a tie; so has a candidate without
text. Nothing is learned: a score is of its own request alone.
"""

from typing import Any

import numpy as np

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.baselines.item_texts import NOTHING_WANTED, ItemTexts, looks_for_something
from promptrank.baselines.sentences import Sentences
from promptrank.ranking.values import Values
from promptrank.records import Request

MODEL = "all-minilm-l6-v2"


class EmbeddingFit:
    """Notes whether any request looks for something; nothing is learned."""

    def __init__(self, aim: Aim) -> None:
        """Know of no request yet."""
        self._texts = aim.texts
        self._looked = False

    def add(self, request: Request) -> None:
        """Note whether it looks for something."""
        self._looked = self._looked or looks_for_something(request)

    def fit(self, sources: Sources) -> Baseline:
        """The model, opened; it is fetched only where a request looks for something."""
        if not self._looked:
            return Baseline(None, NOTHING_WANTED)
        folder = sources.model(MODEL, "embedding")
        if isinstance(folder, str):
            return Baseline(None, folder)
        model = Embedding(Sentences(folder), self._texts)
        return Baseline(model.rank, facts=model.facts())


class Embedding:
    """Ranks by a model of sentences."""

    def __init__(self, sentences: Sentences, texts: ItemTexts) -> None:
        self.sentences, self.texts = sentences, texts

    def rank(self, request: Request) -> Values:
        """Cosines, without probabilities."""
        wanted = self.texts.wanted(request)
        items = [self.texts.of(candidate.item) for candidate in request.candidates]
        if not wanted:
            return Values([0.0] * len(items))
        vectors = self.sentences.vectors([*wanted, *items]).astype(np.float64)
        aim = vectors[: len(wanted)].mean(axis=0)
        return Values((vectors[len(wanted) :] @ aim).tolist())

    def facts(self) -> dict[str, Any]:
        """What it used, for the report."""
        names = self.texts.names
        return {
            "model": self.sentences.digest,
            "fields": list(names) if names is not None else "all texts",
            "tokens": self.sentences.longest,
        }
