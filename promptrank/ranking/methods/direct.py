"""``direct``: nothing is asked; a function of the request gives the scores. Baselines rank so."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from promptrank.engine.contract import EngineInfo, Steps, Window
from promptrank.errors import ErrorRow, InputError
from promptrank.prompt.budget import Cuts
from promptrank.ranking.method import AdapterOf, Asking
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.ranking.values import RankValues
from promptrank.records import Request


class Direct:
    """Scores by a function of the request; the task's questions get no answers.

    A candidate without a score is among the ranking's errors, never in ``scored``. Ties keep the
    request's order.
    """

    name = "direct"
    answers = False

    def __init__(self, rank: RankValues, who: str, fingerprint: str) -> None:
        """Take the function.

        Args:
            who: the ranker's name, for messages.
            fingerprint: of all that the function knows, requests aside.
        """
        self._rank, self._who, self.fingerprint = rank, who, fingerprint

    def start(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Asking]:
        """No round at all: each ranking is there at once.

        Raises:
            InputError: adapters were asked for.
        """
        if adapter_of is not None:
            raise InputError(f"{self._who}: has no adapters")
        return (self._ask(request) for request in requests)

    def _ask(self, request: Request) -> Asking:
        yield from ()
        return self._ranking(request)

    def _ranking(self, request: Request) -> Ranking:
        values = self._rank(request)
        chances = values.probabilities or [None] * len(request.candidates)
        rows, errors = [], list[ErrorRow]()
        for candidate, score, chance in zip(
            request.candidates, values.scores, chances, strict=True
        ):
            if score is None or not math.isfinite(score):
                message = f"{self._who} knows nothing of this candidate at the request's time"
                errors.append(
                    ErrorRow(
                        request.request_id, candidate.candidate_id, "engine", "no_score", message
                    )
                )
            else:
                rows.append((score, chance, candidate))
        rows.sort(key=lambda row: -row[0])  # which keeps the order of equals
        scored = tuple(
            Scored(candidate.candidate_id, candidate.item.item_id, score, rank, chance, score, {})
            for rank, (score, chance, candidate) in enumerate(rows, 1)
        )
        events = len(request.history)
        return Ranking(
            request.request_id,
            request.subject.subject_id,
            scored,
            bool(errors) or bool(request.meta.get("partial")),
            tuple(errors),
            Cuts(events_given=events, events_kept=events),
            request,
        )


class Unasked:
    """Stands where a ranker has its engine, of one that asks nothing."""

    window = Window(trees=0, tokens=0)  # so every request is a group of its own, ranked when due
    groups = 1

    def __init__(self, info: EngineInfo) -> None:
        """Take the facts that its results state."""
        self.info = info

    def size(self, work: Any) -> int:
        """Nothing counts."""
        return 0

    def begin(self, works: Sequence[Any]) -> Steps:
        """Nothing is answered, as nothing is asked."""
        yield from ()

    def close(self) -> None:
        """Nothing to give back."""
