"""Rankings and policies for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

from promptrank.policy.policy_step import PolicyRun
from promptrank.policy.steps import policy_of
from promptrank.prompt.budget import Cuts
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.records import Candidate, Item, Request, Subject
from support.data import make_task


def ranking_of(
    items: Sequence[Mapping[str, Any]],
    scores: Sequence[float] | None = None,
    name: str = "r1",
) -> Ranking:
    """Candidates c0, c1, ... with these fields; the first one scores best where nothing is said."""
    given = scores if scores is not None else [float(-i) for i in range(len(items))]
    candidates = tuple(
        Candidate(f"c{i}", Item(f"i{i}", fields), context={"at": i})
        for i, fields in enumerate(items)
    )
    order = sorted(range(len(items)), key=lambda i: -given[i])
    scored = tuple(
        Scored(f"c{i}", f"i{i}", given[i], rank, 0.5, given[i], {})
        for rank, i in enumerate(order, 1)
    )
    request = Request(name, Subject("m", {"age": 30}), candidates)
    return Ranking(name, "m", scored, False, (), Cuts(), request)


def policy(*steps: Mapping[str, Any], explore: bool = True) -> tuple[PolicyRun, ...]:
    """The steps of a task that declares these."""
    return policy_of(make_task(steps=list(steps)), "task.yaml", explore=explore)


def after(ranking: Ranking, *steps: Mapping[str, Any]) -> Ranking:
    """The ranking after these steps."""
    for step in policy(*steps):
        ranking = step(ranking)
    return ranking


def ids(ranking: Ranking) -> str:
    """Candidates, best first: ``c2 c0``."""
    return " ".join(scored.candidate_id for scored in ranking.scored)
