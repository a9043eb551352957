"""A fusion's scores from the decoder's, without asking the decoder again."""

from collections.abc import Callable, Iterable

from promptrank.basics.numbers import sigmoid
from promptrank.errors import RowError
from promptrank.fusion.layers import FittedFusion, Values, decoder_values, field_values
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of

Decoder = Callable[[str, str], Values | None]
"""Ids of a request and a candidate -> the decoder's features; None where it has no score."""


def decoder_of(task: Task, scores: Scores) -> Decoder:
    """The decoder's features of each candidate that it scored."""
    answers = {name: list(question.answers) for name, question in task.questions.items()}
    logprobs = {name: scores.logprobs(task, name) for name in answers}

    def values(request: str, candidate: str) -> Values | None:
        row = scores.index.get((request, candidate))
        if row is None:
            return None
        said = {
            name: dict(zip(answers[name], logprobs[name][row].tolist(), strict=True))
            for name in answers
        }
        return decoder_values(task, said)

    return values


def fused_scores(
    fusion: FittedFusion, task: Task, requests: Iterable[Request], scores: Scores, name: str
) -> Scores:
    """The fused scores of what the decoder has scored."""
    return _scores(fusion, fusion.log_odds, requests, decoder_of(task, scores), name)


def without_decoder(fusion: FittedFusion, requests: Iterable[Request], name: str) -> Scores:
    """Scores of the same fusion without the decoder: what the declared numbers alone can do."""
    return _scores(fusion, fusion.without.log_odds, requests, lambda *_: {}, name)


def _scores(
    fusion: FittedFusion,
    log_odds: Callable[[Values], float],
    requests: Iterable[Request],
    decoder: Decoder,
    name: str,
) -> Scores:
    keys: list[tuple[str, str]] = []
    values: list[float | None] = []
    for request in requests:
        for candidate in request.candidates:
            keys.append((request.request_id, candidate.candidate_id))
            said = decoder(*keys[-1])
            try:
                numbers = field_values(request, candidate, fusion.fields)
            except RowError:
                said = None
            values.append(log_odds({**numbers, **said}) if said is not None else None)
    chances = [None if value is None else sigmoid(value) for value in values]
    return scores_of(keys, values, chances, Origin(name, task=fusion.task))
