"""Requests to label from: a sample of a part, read once, with their texts and rankings."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from promptrank.basics.telling import silent
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Scored
from promptrank.records import Request
from promptrank.requests.source import Sample
from promptrank.scores.scores import Scores
from promptrank.workbench.label_cards import Pair, differing_order, random_order, uncertain_order
from promptrank.workbench.label_texts import RequestTexts, texts_of
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask, part_of

MOST = 1_000
"""Requests of a pool; more labels than these give are for a table of labels."""
EVERYTHING = "everything"
"""The part that is all parts."""


class LabelPool:
    """Some requests of one part of a request file; all methods may be called from any thread.

    Attributes:
        requests: by id.
        candidates: how many there are in all of them.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = {request.request_id: request for request in requests}
        self.candidates = sum(len(request.candidates) for request in requests)
        self._texts: dict[str, RequestTexts] = {}
        self._ranked: dict[str, Mapping[str, Scored]] = {}
        self._ranks = threading.Lock()

    def texts(self, request: Request, ranker: Ranker) -> RequestTexts:
        """What a labeller reads of it."""
        made = self._texts.get(request.request_id)
        if made is None:
            made = self._texts[request.request_id] = texts_of(request, ranker.encoder)
        return made

    def random(self, *, pairs: bool) -> Callable[[Request], list[Pair]]:
        """The order of a hash."""
        return lambda request: random_order(request, pairs=pairs)

    def uncertain(
        self, ranker: Ranker, question: str | None, *, pairs: bool
    ) -> Callable[[Request], list[Pair]]:
        """What the ranker is least sure of first; each request is ranked once, when it is its turn.

        Rankings of labellers go one after another, so that they hold up traffic no more than one
        client does.
        """

        def order(request: Request) -> list[Pair]:
            with self._ranks:
                if request.request_id not in self._ranked:
                    # What a policy would take out has a label too.
                    scored = next(ranker.rank_many([request], policy=False)).scored
                    self._ranked[request.request_id] = {each.candidate_id: each for each in scored}
            ranked = self._ranked[request.request_id]
            return uncertain_order(
                request,
                lambda name: doubt_of(ranked.get(name), question),
                lambda name: ranked[name].score,
                pairs=pairs,
            )

        return order

    def different(
        self, edit: Scores, saved: Scores, *, pairs: bool
    ) -> Callable[[Request], list[Pair]]:
        """Where an edit and the saved version differ most, on what both have scored."""

        def order(request: Request) -> list[Pair]:
            both = (scores_by_candidate(scores, request) for scores in (edit, saved))
            return differing_order(request, *both, pairs=pairs)

        return order


def scores_by_candidate(scores: Scores, request: Request) -> dict[str, float]:
    """A request's scores; candidates without one are left out."""
    names = [c.candidate_id for c in request.candidates]
    given = scores.at("score", scores.rows((request.request_id, name) for name in names))
    return {n: float(v) for n, v in zip(names, given, strict=True) if not math.isnan(v)}


def doubt_of(scored: Scored | None, question: str | None) -> float:
    """Entropy of a candidate's answers, in nats; NaN without a score, 0 where none is offered."""
    if scored is None:
        return math.nan
    answered = scored.questions.get(question or "")
    if answered is None:
        chance = scored.probability
        chances = [] if chance is None else [chance, 1 - chance]
    else:
        weights = [math.exp(value) for value in answered.logprobs.values()]
        chances = [weight / sum(weights) for weight in weights] if sum(weights) > 0 else []
    return -sum(chance * math.log(chance) for chance in chances if chance > 0)


def parts_of_task(opened: OpenTask) -> list[str]:
    """Parts to choose from, the default first: what is evaluated on."""
    return ["test", "valid", "train", EVERYTHING] if opened.task.split else [EVERYTHING]


def read_pool(opened: OpenTask, path: Path, part: str) -> LabelPool:
    """A sample of a part of a request file, by the hash of its ids.

    Raises:
        InputError: no such part, or a file that cannot be read.
    """
    splits = None if part == EVERYTHING else part_of(opened.task, part)
    with request_file(opened, path, splits=splits, say=silent) as file:
        return LabelPool(list(Sample(file, splits, MOST)))
