"""The baseline ``logged``: the score of the ranker that is served today, where the log holds it."""

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.ranking.values import Values
from promptrank.records import Request


class LoggedFit:
    """There is nothing to learn."""

    def __init__(self, aim: Aim) -> None:
        """Take a task's aim, which changes nothing."""

    def add(self, request: Request) -> None:
        """Nothing is taken in."""

    def fit(self, sources: Sources) -> Baseline:
        """The logged scores."""
        return Baseline(logged)


def logged(request: Request) -> Values:
    """The logged scores of a request."""
    return Values([candidate.logged_score for candidate in request.candidates])
