"""What a policy step is, and where it stands among the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from promptrank.policy.conditions import CandidateExpression
from promptrank.ranking.ranking import Ranking


class PolicyRun(Protocol):
    """A step of the policy: a `promptrank.ranking.step.Step` that says what it goes by.

    Attributes:
        expressions: those that it evaluates, each with its place in the task file.
    """

    @property
    def name(self) -> str: ...

    @property
    def expressions(self) -> Sequence[CandidateExpression]: ...

    def __call__(self, ranking: Ranking) -> Ranking:
        """The ranking after this step."""
        ...


@dataclass(frozen=True, slots=True)
class StepPlace:
    """Where a step stands.

    Attributes:
        name: its own, for traces: ``boost``, and ``boost 2`` where it is the second.
        where: its place in the task file: ``steps.0.boost``.
        before: the steps before it.
    """

    name: str
    where: str
    before: tuple[PolicyRun, ...]

    def at(self, key: str) -> str:
        """The place of one of its keys."""
        return f"{self.where}.{key}"
