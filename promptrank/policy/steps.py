"""A task's policy steps, made from what its file says; every kind of step is a line here."""

from collections.abc import Callable, Mapping
from typing import Any

from promptrank.errors import InputError, TaskError
from promptrank.policy.boost import BoostStep
from promptrank.policy.cap import CapStep
from promptrank.policy.diversify import DiversifyStep
from promptrank.policy.explore import ExploreStep
from promptrank.policy.filtering import FilterStep
from promptrank.policy.pin import PinStep
from promptrank.policy.policy_step import PolicyRun, StepPlace
from promptrank.schema.policy_steps import step_place
from promptrank.schema.task import Task

STEPS: Mapping[str, Callable[[Any, StepPlace], PolicyRun]] = {
    "filter": FilterStep,
    "boost": BoostStep,
    "diversify": DiversifyStep,
    "cap": CapStep,
    "pin": PinStep,
    "explore": ExploreStep,
}


def policy_of(task: Task, where: str, *, explore: bool = True) -> tuple[PolicyRun, ...]:
    """The steps, in their order; none where the task declares none.

    Args:
        where: the task's file, for messages.
        explore: whether to explore; an offline measure is of the order without it.

    Raises:
        TaskError: expressions that cannot be read; every one of them is in the message.
    """
    made: list[PolicyRun] = []
    problems: list[str] = []
    kinds: list[str] = []
    for number, step in enumerate(task.steps or []):
        if step.kind == "explore" and not explore:
            continue
        kinds.append(step.kind)
        count = kinds.count(step.kind)
        name = step.kind if count == 1 else f"{step.kind} {count}"
        try:
            placed = StepPlace(name, step_place(number, step), tuple(made))
            made.append(STEPS[step.kind](step.options, placed))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise TaskError(where, problems)
    return tuple(made)
