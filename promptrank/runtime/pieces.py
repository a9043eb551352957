"""A request's tree a few candidates at a time, so that others come in between and one sees it go.

A score does not depend on the other candidates, so the pieces have the scores of the whole. Each
piece computes the prefix again: a price for never holding the engine longer than one piece takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from promptrank.basics.telling import Progress, no_progress
from promptrank.engine.contract import (
    Branch,
    BranchScore,
    EngineInfo,
    Failure,
    Steps,
    Tree,
    Window,
)
from promptrank.runtime.opened import Opened

PIECE = 5
"""Candidates of one piece: two pieces of ten candidates take about half as long again as the whole,
where the prefix is as long as all candidates together."""


class Pieces:
    """Answers trees by asking an opened engine for pieces of them, one after the other.

    Put it before a ranker (`Ranker.put_before`). Closing it leaves the engine open.
    """

    groups = 1

    def __init__(
        self, opened: Opened[Tree], told: Progress = no_progress, candidates: int = PIECE
    ) -> None:
        """Stand before an engine.

        Args:
            told: is given how many candidates of a tree are answered, and of how many.
            candidates: of one piece.
        """
        self._opened, self._told, self._candidates = opened, told, candidates

    @property
    def info(self) -> EngineInfo:
        """The engine's own."""
        return self._opened.info

    @property
    def window(self) -> Window:
        """The engine's own."""
        return self._opened.engine.window

    @property
    def size(self) -> Callable[[Tree], int]:
        """The engine's own."""
        return self._opened.engine.size

    def begin(self, trees: Sequence[Tree]) -> Steps:
        """A step for each piece; what the last one of a tree answers is the tree's."""
        for place, tree in enumerate(trees):
            results: list[BranchScore] = []
            failure: Failure | None = None
            for piece in self._pieces(tree):
                self._told(len(results), len(tree.branches))
                score = self._asked(piece)
                if isinstance(score, Failure):
                    failure = score
                    break
                results += score
                if len(results) < len(tree.branches):
                    yield []  # whoever has given up is seen here
            self._told(len(results), len(tree.branches))
            yield [(place, failure if failure is not None else tuple(results))]

    def _asked(self, piece: Tree) -> "Failure | Sequence[BranchScore]":
        (answer,) = self._opened.submit([piece])
        try:
            return self._opened.result(answer)
        finally:
            answer.cancel()

    def _pieces(self, tree: Tree) -> list[Tree]:
        branches: Sequence[Branch] = tree.branches
        return [
            replace(tree, branches=tuple(branches[at : at + self._candidates]))
            for at in range(0, len(branches), self._candidates)
        ]

    def close(self) -> None:
        """Nothing of its own is open."""
