"""What the JSON of a student holds, whatever its kind: its columns and its scales, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from promptrank.errors import ModelError
from promptrank.schema.task import Task
from promptrank.students.column_plan import ColumnPlan
from promptrank.students.features import Features
from promptrank.students.scale import Scale

AGAIN = "distill the student again"


@dataclass(frozen=True, slots=True)
class KeptScale:
    """A `Scale` as JSON has it."""

    base: tuple[float, ...]
    worth: tuple[float, ...]


def kept_scales(scales: Mapping[str, Scale]) -> dict[str, dict[str, list[float]]]:
    """Scales as JSON has them."""
    return {
        name: {"base": scale.base.tolist(), "worth": scale.worth.tolist()}
        for name, scale in scales.items()
    }


def read_scales(given: Mapping[str, KeptScale], task: Task, path: Path) -> dict[str, Scale]:
    """One scale per question.

    Raises:
        ModelError: other questions or another number of answers than the task has.
    """
    if given.keys() != task.questions.keys():
        raise ModelError(
            f"{path}: scales of {_listed(given)}, and the task asks {_listed(task.questions)}; "
            f"{AGAIN}"
        )
    for name, question in task.questions.items():
        for part in (given[name].base, given[name].worth):
            if len(part) != len(question.answers):
                raise ModelError(
                    f"{path}: scales.{name} has {len(part)} numbers for "
                    f"{len(question.answers)} answers; {AGAIN}"
                )
    return {
        name: Scale(np.array(given[name].base), np.array(given[name].worth))
        for name in task.questions
    }


def read_columns(plan: ColumnPlan, task: Task, path: Path) -> Features:
    """The columns of a plan.

    Raises:
        ModelError: an overlap with a text that the plan does not have.
    """
    for _, text in plan.overlaps:
        if text not in plan.texts:
            raise ModelError(
                f"{path}: plan.overlaps names {text!r}, no text of plan.texts; {AGAIN}"
            )
    return Features(plan, task)


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names) or "nothing"
