"""How each ranker orders an example's candidates, as a strip of marks: relevant or not."""

from collections.abc import Iterator
from dataclasses import dataclass

from promptrank.evaluation.example_requests import ExampleRequest


@dataclass(frozen=True, slots=True)
class Strip:
    """One ranker's order of the candidates that an example shows, best first.

    Attributes:
        relevant: of each candidate; None where it is unlabelled.
        at: places of the relevant ones, from 1.
    """

    ranker: str
    relevant: tuple[bool | None, ...]
    at: tuple[int, ...]


def strips(example: ExampleRequest) -> Iterator[Strip]:
    """A strip for each ranker; candidates that it ties stand in the order of the reference."""
    for ranker in example.candidates[0].ranks:
        ranked = [c for c in example.candidates if c.ranks[ranker] is not None]
        ranked.sort(key=lambda candidate: candidate.ranks[ranker] or 0.0)
        relevant = tuple(candidate.relevant for candidate in ranked)
        at = tuple(place for place, each in enumerate(relevant, 1) if each)
        yield Strip(ranker, relevant, at)
