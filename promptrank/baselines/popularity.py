"""The baseline ``popularity``: how often an item was acted on so far.

As of the request, where its candidates have as-of numbers (`promptrank.records.Candidate.baseline`,
which ``build`` writes for data with a clock). Where they have none, as judgements do, it is how
often the item was relevant in the training requests.
"""

from collections import Counter

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Request


class PopularityFit:
    """Counts what was relevant in training, for candidates without as-of numbers."""

    def __init__(self, aim: Aim) -> None:
        """Count nothing yet."""
        self._aim = aim
        self._relevant: Counter[str] = Counter()
        self._labels = 0

    def add(self, request: Request) -> None:
        """Count a training request's labels."""
        if request.split != "train":
            return
        for candidate in request.candidates:
            gain = self._aim.gain_of(candidate)
            if gain is not None:
                self._relevant[candidate.item.item_id] += gain >= self._aim.relevant_at
                self._labels += 1

    def fit(self, sources: Sources) -> Baseline:
        """It can always be made; candidates that nothing is known of have no score."""
        return Baseline(self.rank)

    def rank(self, request: Request) -> Values:
        """As of the request where there is an as-of count, else from training."""
        return Values(
            [
                popularity(c) if c.baseline or not self._labels else self._relevant[c.item.item_id]
                for c in request.candidates
            ]
        )


def popularity(candidate: Candidate) -> float | None:
    """How many events the item had before the request; an item without a count had none.

    A candidate without any as-of number has no score.
    """
    if not candidate.baseline:
        return None
    return candidate.baseline.get("item_count") or 0.0
