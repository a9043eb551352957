"""The task: everything one YAML file says, checked as a whole."""

from pydantic import model_validator

from promptrank.schema.task_keys import FUSED, TaskKeys
from promptrank.schema.whole_task import problems_of

__all__ = ["FUSED", "Task"]


class Task(TaskKeys):
    """A ranking task; one of ``ratings``, ``judgements``, ``requests`` says what to rank."""

    @model_validator(mode="after")
    def _whole(self) -> "Task":
        if problems := problems_of(self):
            # `parse_task` splits the lines again: pydantic has one error per validator.
            raise ValueError("\n".join(problems))
        return self
