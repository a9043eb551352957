"""Cheap rankers on the same candidates, so that a decoder's number means something.

``popularity``, ``item_member_mean`` and the fitted ``logistic`` are what a team would build in an
afternoon; ``logged`` is the ranker that made the log, where the log holds its scores; ``random``
shows what a metric is worth by chance. All use as-of numbers only: those in
`promptrank.records.Candidate.baseline` were known before the request.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
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

    One that finds no numbers in the requests that are judged scores nothing there, and
    `promptrank.evaluation.compare.evaluate` then sets it aside with a reason.
    """
    fitted = fit_logistic(train, gain_of=gain_of, relevant_at=relevant_at)
    logistic = (
        Baseline(None, fitted)
        if isinstance(fitted, str)
        else Baseline(fitted.rank, facts=fitted.facts())
    )
    return {
        "logged": Baseline(_each(logged_score)),
        "popularity": Baseline(_each(popularity)),
        "item_member_mean": Baseline(_each(item_member_mean)),
        "logistic": logistic,
        "random": Baseline(random_ranker(seed)),
    }


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
