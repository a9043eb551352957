"""A task's policy: opened with its rankers, and left out where rankers are measured."""

from collections.abc import Mapping
from dataclasses import replace

from promptrank.basics.digests import json_digest
from promptrank.policy.offline import policy_scores
from promptrank.policy.policy_step import PolicyRun
from promptrank.policy.steps import policy_of
from promptrank.ranking.ranker import Ranker
from promptrank.requests.source import Sample
from promptrank.scores.scores import Scores
from promptrank.workspace.tasks import OpenTask

POLICY = ", policy"
"""What the name of a ranker ends in that is compared once more by the order of its policy."""


def open_policy(opened: OpenTask, *, explore: bool = True) -> tuple[PolicyRun, ...]:
    """The policy steps of a task.

    Raises:
        TaskError: an expression that cannot be read.
    """
    return policy_of(opened.task, str(opened.place.path), explore=explore)


def with_policy(opened: OpenTask, ranker: Ranker, policy: tuple[PolicyRun, ...]) -> Ranker:
    """The ranker with a task's policy, which its origin tells of."""
    if policy:
        steps = [
            step.model_dump(mode="json", exclude_none=True) for step in opened.task.steps or ()
        ]
        ranker.policy = policy
        ranker.origin = replace(ranker.origin, policy=json_digest(steps))
    return ranker


def without_steps(opened: OpenTask) -> OpenTask:
    """The task with its ranker alone, which is what is trained, taught from and measured."""
    return replace(opened, task=opened.task.without_steps)


def policy_rows(
    policy: tuple[PolicyRun, ...],
    sample: Sample,
    compared: Mapping[str, Scores],
    ranker: str,
    reference: str,
) -> tuple[dict[str, Scores], list[tuple[str, str]]]:
    """What a comparison has of a ranker's policy: a row by its order, and the pair to tell of.

    Args:
        reference: the ranker that all are compared with anyway.
    """
    if not policy:
        return {}, []
    name = f"{ranker}{POLICY}"
    made = {name: policy_scores(policy, sample, compared[ranker], name)}
    return made, [(name, ranker)] if ranker != reference else []
