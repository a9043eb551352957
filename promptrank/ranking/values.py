"""What a ranker that answers no question says of one request's candidates: numbers alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from promptrank.records import Request


@dataclass(frozen=True, slots=True)
class Values:
    """Numbers of one request's candidates, in their order.

    Attributes:
        scores: larger is better; None or NaN where there is no score.
        probabilities: P(relevant) in [0, 1], for rankers that offer it.
    """

    scores: Sequence[float | None]
    probabilities: Sequence[float | None] | None = None


RankValues = Callable[[Request], Values]
