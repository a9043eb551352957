"""The baseline ``item_member_mean``: item mean + member mean - overall mean of the label's value.

As of the request, where its candidates have as-of numbers (`promptrank.records.Candidate.baseline`,
which ``build`` writes for data with a clock). Where they have none, as judgements do, the means are
those of the training requests; what was never seen there counts as the overall mean.
"""

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Request


class ItemMemberMeanFit:
    """Means over training requests, for candidates without as-of numbers."""

    def __init__(self, aim: Aim) -> None:
        """Know of no label yet."""
        self._aim = aim
        self._items: dict[str, tuple[float, int]] = {}
        self._subjects: dict[str, tuple[float, int]] = {}
        self._all = (0.0, 0)

    def add(self, request: Request) -> None:
        """Take in a training request's labels."""
        if request.split != "train":
            return
        subject = request.subject.subject_id
        for candidate in request.candidates:
            gain = self._aim.gain_of(candidate)
            if gain is None:
                continue
            for table, key in ((self._items, candidate.item.item_id), (self._subjects, subject)):
                total, count = table.get(key, (0.0, 0))
                table[key] = (total + gain, count + 1)
            self._all = (self._all[0] + gain, self._all[1] + 1)

    def fit(self, sources: Sources) -> Baseline:
        """It can always be made; candidates that nothing is known of have no score."""
        return Baseline(self.rank)

    def rank(self, request: Request) -> Values:
        """As of the request where there is an as-of mean, else from training."""
        return Values([self._mean(request, candidate) for candidate in request.candidates])

    def _mean(self, request: Request, candidate: Candidate) -> float | None:
        total, count = self._all
        if candidate.baseline or not count:
            return item_member_mean(candidate)
        overall = total / count
        item = self._items.get(candidate.item.item_id, (overall, 1))
        subject = self._subjects.get(request.subject.subject_id, (overall, 1))
        return item[0] / item[1] + subject[0] / subject[1] - overall


def item_member_mean(candidate: Candidate) -> float | None:
    """Item mean + member mean - global mean of the label's value.

    A part that nobody knows yet (a new item, a new member) is replaced by the global mean. Without
    a global mean there is no score.
    """
    mean = candidate.baseline.get("mean")
    if mean is None:
        return None
    item, member = candidate.baseline.get("item_mean"), candidate.baseline.get("member_mean")
    return (mean if item is None else item) + (mean if member is None else member) - mean
