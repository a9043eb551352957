"""Works that an engine was asked for together, and what is to come of them."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from promptrank.engine.contract import Steps, TreeScore

V = TypeVar("V")
Answer = Future[TreeScore]


class WorkGroup(Generic[V]):
    """Works begun together, and a future for each.

    Attributes:
        own: answers to its own works; `works` and `answers` may grow by those of groups that join.
        steps: None until it is begun.
        joins: whether it may be begun together with others.
    """

    def __init__(self, works: Sequence[V], joins: bool) -> None:
        self.works, self.joins = list(works), joins
        self.answers: list[Answer] = [Future() for _ in works]
        self.own = tuple(self.answers)
        self.steps: Steps | None = None

    @property
    def over(self) -> bool:
        """Whether nobody waits for anything in it."""
        return all(answer.done() for answer in self.answers)

    def close(self, error: BaseException | None = None) -> None:
        """Give up what is left, with an error or as cancelled."""
        for answer in self.answers:
            if error is None:
                answer.cancel()
            elif not answer.done() and answer.set_running_or_notify_cancel():
                answer.set_exception(error)
        if self.steps is not None:
            self.steps.close()
