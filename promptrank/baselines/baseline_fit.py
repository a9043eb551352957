"""Baselines fitted side by side in one pass over the requests, and what they say of others."""

from collections.abc import Iterable, Mapping, Sequence

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.baselines.listing import ALWAYS, BASELINES
from promptrank.ranking.values import RankValues
from promptrank.records import Request
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of


class BaselineFit:
    """Learns baselines from requests, shown one after another.

    See `promptrank.baselines.listing` for what each takes in: all of them are shown the requests of
    every split, and those that learn labels read those of ``train`` only.
    """

    def __init__(self, aim: Aim, names: Iterable[str] = ALWAYS) -> None:
        """Learn nothing yet.

        Args:
            names: which baselines, of `promptrank.baselines.listing.BASELINES`.
        """
        wanted = set(names)
        self._learners = {
            name: listed.learner(aim) for name, listed in BASELINES.items() if name in wanted
        }

    def add(self, request: Request) -> None:
        """Take in a request."""
        for learner in self._learners.values():
            learner.add(request)

    def fit(self, sources: Sources) -> dict[str, Baseline]:
        """All of them by name, in the order of the list."""
        return {name: learner.fit(sources) for name, learner in self._learners.items()}


def fit_baselines(
    requests: Sequence[Request], aim: Aim, names: Iterable[str] = ALWAYS
) -> dict[str, Baseline]:
    """Baselines by name, learned from requests in memory."""
    fit = BaselineFit(aim, names)
    for request in requests:
        fit.add(request)
    return fit.fit(Sources(lambda: (r for r in requests if r.split == "train")))


def baseline_scores(
    requests: Iterable[Request], ranks: Mapping[str, RankValues]
) -> dict[str, Scores]:
    """Scores of cheap rankers by name, in one pass over the requests."""
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


def made(baselines: Mapping[str, Baseline]) -> dict[str, RankValues]:
    """The rankers among baselines, without those that could not be made."""
    return {name: each.rank for name, each in baselines.items() if each.rank is not None}
