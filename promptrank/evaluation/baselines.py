"""Cheap rankers on the same candidates, so that a decoder's number means something.

``popularity``, ``item_member_mean`` and the fitted ``logistic`` are what a team would build in an
afternoon; ``logged`` is the ranker that made the log, where the log holds its scores; ``random``
shows what a metric is worth by chance. Popularity and means use as-of numbers where the data knows
time: those in `promptrank.records.Candidate.baseline` were known before the request. The logistic
regression learns from all of the training part, some of which may be later than a request that is
judged (under a split by the last requests of each subject): a stronger rival than one could serve.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from promptrank.evaluation.judged import Label, Ranker, Scored
from promptrank.evaluation.logistic import fit_logistic
from promptrank.evaluation.report import Seen
from promptrank.records import Candidate, Request


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline, or why there is none.

    Attributes:
        ranker: None where it could not be made, and then ``reason`` says why.
        facts: what a reader of the report should know, such as the fields it uses.
    """

    ranker: Ranker | None
    reason: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def baselines(
    train: Iterable[Request], *, gain_of: Label, relevant_at: float, seed: int = 0
) -> dict[str, Baseline]:
    """All baselines by name; only requests of split ``train`` are learned from, in one pass.

    Popularity and means are as of each request where the data knows time. Where it does not
    (judgements), they are those of the training requests: `Means`.
    """
    means = Means()
    fitted = fit_logistic(
        means.watch(train, gain_of, relevant_at), gain_of=gain_of, relevant_at=relevant_at
    )
    logistic = (
        Baseline(None, fitted)
        if isinstance(fitted, str)
        else Baseline(fitted.rank, facts=fitted.facts())
    )
    return {
        "logged": Baseline(_each(logged_score)),
        "popularity": Baseline(means.popularity),
        "item_member_mean": Baseline(means.item_member_mean),
        "logistic": logistic,
        "random": Baseline(random_ranker(seed)),
    }


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

    def watch(
        self, requests: Iterable[Request], gain_of: Label, relevant_at: float
    ) -> Iterator[Request]:
        """The same requests, counted as they pass."""
        for request in requests:
            if request.split == "train":
                for candidate in request.candidates:
                    gain = gain_of(candidate)
                    if gain is not None:
                        self._add(request.subject.subject_id, candidate, gain, relevant_at)
            yield request

    def _add(self, subject: str, candidate: Candidate, gain: float, relevant_at: float) -> None:
        item = candidate.item.item_id
        self._relevant[item] += gain >= relevant_at
        for table, key in ((self._items, item), (self._subjects, subject)):
            total, count = table.get(key, (0.0, 0))
            table[key] = (total + gain, count + 1)
        self._all = (self._all[0] + gain, self._all[1] + 1)

    def popularity(self, request: Request) -> Scored:
        """As of the request where there is an as-of count, else from training."""
        return Scored(
            [
                popularity(c) if c.baseline or not self._all[1] else self._relevant[c.item.item_id]
                for c in request.candidates
            ]
        )

    def item_member_mean(self, request: Request) -> Scored:
        """As of the request where there is an as-of mean, else from training."""
        return Scored([self._mean(request, candidate) for candidate in request.candidates])

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


def random_ranker(seed: int = 0) -> Ranker:
    """Uniform scores that depend on seed, request id and candidate id only, not on the order."""
    key = seed.to_bytes(8, "little", signed=True)

    def ranker(request: Request) -> Scored:
        start = hashlib.blake2b(repr(request.request_id).encode(), digest_size=8, key=key)
        scores = []
        for candidate in request.candidates:
            one = start.copy()
            one.update(repr(candidate.candidate_id).encode())
            scores.append(int.from_bytes(one.digest(), "little") / 2**64)
        return Scored(scores)

    return ranker


def seen_in_training(requests: Iterable[Request], *, split: str = "test") -> Seen:
    """How many subjects and items of ``split`` also occur in requests of split ``train``.

    An item occurs in training as a candidate, in a history, or as the source.
    """
    known_subjects, known_items = set[str](), set[str]()
    subjects, items = set[str](), set[str]()
    for request in requests:
        if request.split == "train":
            known_subjects.add(request.subject.subject_id)
            known_items.update(one.item.item_id for one in request.candidates)
            known_items.update(event.item.item_id for event in request.history)
            if request.subject.source is not None:
                known_items.add(request.subject.source.item_id)
        elif request.split == split:
            subjects.add(request.subject.subject_id)
            items.update(one.item.item_id for one in request.candidates)
    return Seen(len(subjects), len(subjects & known_subjects), len(items), len(items & known_items))


def _each(score: Callable[[Candidate], float | None]) -> Ranker:
    return lambda request: Scored([score(candidate) for candidate in request.candidates])
