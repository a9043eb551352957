"""The baseline ``random``: what a metric is worth by chance, exactly."""

from promptrank.baselines.baseline import Aim, Baseline, Sources
from promptrank.ranking.values import Values
from promptrank.records import Request


class ChanceFit:
    """There is nothing to learn."""

    def __init__(self, aim: Aim) -> None:
        """Take a task's aim, which changes nothing."""

    def add(self, request: Request) -> None:
        """Nothing is taken in."""

    def fit(self, sources: Sources) -> Baseline:
        """One score for all."""
        return Baseline(any_order)


def any_order(request: Request) -> Values:
    """One score for all: metrics take ties as every order at once, so this is chance itself.

    It is what the mean over infinitely many random rankers would be, without the luck of one.
    """
    return Values([0.0] * len(request.candidates))
