"""BM25: how well the words of a text match what is looked for.

Robertson and Zaragoza 2009, in Lucene's form, with the tokens and parameters of bm25s (lower case,
words of two characters and more, English stop words left out, no stemmer; k1 = 1.5, b = 0.75):

    sum over the query's words t: ln(1 + (N - n_t + .5) / (n_t + .5)) * f / (f + k1 (1 - b + b l/L))

f: how often t stands in the text of l words; N texts of L words on average, n_t of them with t.
bm25s itself scores the texts of its index only. Here a text may be newer than the collection that
was counted: so its statistics are applied to any text.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

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


class WordMatch:
    """Scores texts by the statistics of a collection that holds at least one word."""

    def __init__(self, statistics: WordStatistics) -> None:
        self.statistics = statistics
        self._words = lru_cache(maxsize=_CACHED)(_counted)

    def scores(self, wanted: Sequence[str], texts: Iterable[str]) -> list[float]:
        """A score for each text; none depends on another.

        Args:
            wanted: what is looked for. Of several texts a score is the mean over them, so that many
                do not count for more; of none, or of no words, it is 0.
        """
        looked_for: Counter[str] = Counter()
        for text in wanted:
            looked_for.update(self._words(text)[0])
        weights = {word: times * self.statistics.idf(word) for word, times in looked_for.items()}
        return [self._score(weights, text) / max(1, len(wanted)) for text in texts]

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
