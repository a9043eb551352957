"""Fusion as a step: the decoder's score gives way to the fused one, and stays beside it."""

import math

from promptrank.basics.numbers import sigmoid
from promptrank.errors import ErrorRow, RowError
from promptrank.fusion.layers import FittedFusion, decoder_values, field_values
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.ranking.step import Rescore, rescored
from promptrank.records import Candidate, Request
from promptrank.schema.task import Task
from promptrank.scores.scores import FUSION


class FusionStep:
    """Scores candidates by a fitted layer over the decoder's log-odds and declared numbers.

    A candidate whose numbers cannot be used becomes an error and makes the ranking partial.
    """

    name = FUSION

    def __init__(self, fusion: FittedFusion, task: Task) -> None:
        self.fusion, self.task = fusion, task
        count = len(fusion.fields)
        self._why = f"log-odds of the decoder and {count} number{'s' * (count != 1)}, fused"
        if fusion.by != "logistic":
            self._why = f"log-odds of the decoder, calibrated ({fusion.by})"

    def __call__(self, ranking: Ranking) -> Ranking:
        """The same candidates by their fused scores; ties keep the decoder's order."""
        candidates = {c.candidate_id: c for c in ranking.request.candidates}
        said: dict[str, Rescore] = {}
        errors: list[ErrorRow] = []
        for scored in ranking.scored:
            name = scored.candidate_id
            try:
                score = self._fused(ranking.request, candidates[name], scored)
            except RowError as error:
                errors.append(error.row("fusion", ranking.request_id, name))
            else:
                said[name] = Rescore(score, sigmoid(score), self._why)
        return rescored(ranking, self.name, said, errors)

    def _fused(self, request: Request, candidate: Candidate, scored: Scored) -> float:
        answers = {name: answered.logprobs for name, answered in scored.questions.items()}
        numbers = field_values(request, candidate, self.fusion.fields)
        score = self.fusion.log_odds({**numbers, **decoder_values(self.task, answers)})
        if not math.isfinite(score):
            raise RowError("score_undefined", f"the fused score is {score}")
        return score
