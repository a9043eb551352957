"""Cheap rankers on the same candidates, so that a decoder's number means something.

``popularity``, ``item_member_mean``, ``bm25`` and the fitted ``logistic`` are what a team would
build in an afternoon; ``logged`` is the ranker that made the log, where the log holds its scores;
``random`` shows what a metric is worth by chance, exactly: `any_order`. Popularity and means use
as-of numbers where the data knows time: those in `promptrank.records.Candidate.baseline` were known
before the request. The logistic regression learns from all of the training part, some of which may
be later than a request that is judged (under a split by the last requests of each subject): a
stronger rival than one could serve.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from promptrank.evaluation.bm25 import Bm25, Bm25Fit
from promptrank.evaluation.item_texts import ItemTexts
from promptrank.evaluation.labelled import Label
from promptrank.evaluation.logistic import Logistic, LogisticFit
from promptrank.evaluation.values import RankValues, Values
from promptrank.records import Candidate, Request
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline, or why there is none.

    Attributes:
        rank: None where it could not be made, and then ``reason`` says why.
        facts: what a reader of the report should know, such as the fields it uses.
    """

    rank: RankValues | None
    reason: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class BaselineFit:
    """Learns all baselines from the requests of split ``train``, shown one after another.

    Popularity and means are as of each request where the data knows time. Where it does not
    (judgements), they are those of the training requests: `Means`.
    """

    def __init__(
        self, gain_of: Label, relevant_at: float, texts: Sequence[str] | None = None
    ) -> None:
        """Learn nothing yet.

        Args:
            texts: the item fields whose words count for BM25; None for all that are texts.
        """
        self._gain_of, self._relevant_at = gain_of, relevant_at
        self._means = Means()
        self._logistic = LogisticFit(gain_of)
        self._bm25 = Bm25Fit(ItemTexts(texts, gain_of, relevant_at))

    def add(self, request: Request) -> None:
        """Take in a request; what it holds counts if it is of split ``train``."""
        self._bm25.add(request)
        if request.split == "train":
            self._means.add(request, self._gain_of, self._relevant_at)
            self._logistic.add(request)

    def baselines(self, catalogue: Iterable[str] | None = None) -> dict[str, Baseline]:
        """All of them by name.

        Args:
            catalogue: texts of all items that were known, for BM25's statistics; those of the
                training requests where left out.
        """
        return {
            "logged": Baseline(_each(logged_score)),
            "popularity": Baseline(self._means.popularity),
            "item_member_mean": Baseline(self._means.item_member_mean),
            "bm25": _fitted(self._bm25.fit(catalogue)),
            "logistic": _fitted(self._logistic.fit(self._relevant_at)),
            "random": Baseline(any_order),
        }


def _fitted(model: Logistic | Bm25 | str) -> Baseline:
    """A model as a baseline; a text is the reason why there is none."""
    if isinstance(model, str):
        return Baseline(None, model)
    return Baseline(model.rank, facts=model.facts())


def baselines(
    train: Iterable[Request], *, gain_of: Label, relevant_at: float
) -> dict[str, Baseline]:
    """All baselines by name, learned from those of the requests that are of split ``train``."""
    fit = BaselineFit(gain_of, relevant_at)
    for request in train:
        fit.add(request)
    return fit.baselines()


def baseline_scores(
    requests: Iterable[Request], fitted: Mapping[str, Baseline]
) -> dict[str, Scores]:
    """Scores of every baseline that could be made, in one pass over the requests."""
    ranks = {name: baseline.rank for name, baseline in fitted.items() if baseline.rank is not None}
    keys: list[tuple[str, str]] = []
    scores: dict[str, list[float | None]] = {name: [] for name in ranks}
    chances: dict[str, list[float | None]] = {name: [] for name in ranks}
    for request in requests:
        keys += [(request.request_id, candidate.candidate_id) for candidate in request.candidates]
        for name, rank in ranks.items():
            values = rank(request)
            scores[name] += values.scores
            chances[name] += values.probabilities or [None] * len(request.candidates)
    return {name: scores_of(keys, scores[name], chances[name], Origin(name)) for name in ranks}


class Means:
    """Counts and means over training requests, for candidates without as-of numbers.

    ``popularity``: how often the item was relevant. ``item_member_mean``: item mean + subject mean
    - overall mean of the label's value; what was never seen counts as the overall mean.
    """

    def __init__(self) -> None:
        self._relevant: Counter[str] = Counter()
        self._items: dict[str, tuple[float, int]] = {}
        self._subjects: dict[str, tuple[float, int]] = {}
        self._all = (0.0, 0)

    def add(self, request: Request, gain_of: Label, relevant_at: float) -> None:
        """Count a training request."""
        for candidate in request.candidates:
            gain = gain_of(candidate)
            if gain is not None:
                self._add(request.subject.subject_id, candidate, gain, relevant_at)

    def _add(self, subject: str, candidate: Candidate, gain: float, relevant_at: float) -> None:
        item = candidate.item.item_id
        self._relevant[item] += gain >= relevant_at
        for table, key in ((self._items, item), (self._subjects, subject)):
            total, count = table.get(key, (0.0, 0))
            table[key] = (total + gain, count + 1)
        self._all = (self._all[0] + gain, self._all[1] + 1)

    def popularity(self, request: Request) -> Values:
        """As of the request where there is an as-of count, else from training."""
        return Values(
            [
                popularity(c) if c.baseline or not self._all[1] else self._relevant[c.item.item_id]
                for c in request.candidates
            ]
        )

    def item_member_mean(self, request: Request) -> Values:
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


def popularity(candidate: Candidate) -> float | None:
    """How many events the item had before the request; an item without a count had none.

    A candidate without any as-of number has no score.
    """
    if not candidate.baseline:
        return None
    return candidate.baseline.get("item_count") or 0.0


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


def logged_score(candidate: Candidate) -> float | None:
    """The score of the ranker that is served today."""
    return candidate.logged_score


def any_order(request: Request) -> Values:
    """One score for all: metrics take ties as every order at once, so this is chance itself.

    It is what the mean over infinitely many random rankers would be, without the luck of one.
    """
    return Values([0.0] * len(request.candidates))


def _each(score: Callable[[Candidate], float | None]) -> RankValues:
    return lambda request: Values([score(candidate) for candidate in request.candidates])
