"""``set:KEY=VALUE``: the task with other words, as ``--set`` gives them."""

import re

from promptrank.errors import TaskError
from promptrank.probes.edits import Edit, Probe, ProbedTask, refused
from promptrank.schema.load import override, parse_task
from promptrank.schema.task import Task

_WORDS = re.compile(
    r"(template|chat|(vars|wrapper|budget)(\..+)?|questions\.[^.]+\.(ask|answers\.[^.]+\.say))"
)


def _edits(probed: ProbedTask, setting: str) -> list[Edit]:
    name = f"set:{setting}"
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise refused(name, "expected set:KEY=VALUE, such as set:vars.note='prefer what is new'")
    if not _WORDS.fullmatch(key):
        raise refused(
            name,
            "a probe changes what prompts say: vars.X, template, chat, wrapper, budget, "
            "questions.X.ask or questions.X.answers.Y.say; the rest goes with --set",
        )
    try:
        task = overridden(probed.task, setting)
    except TaskError as error:
        raise refused(name, str(error)) from None
    return [Edit(name, f"{key} set to {value}", task=task)]


def overridden(task: Task, setting: str) -> Task:
    """A task with one key set.

    Raises:
        TaskError: no such key, or no value of it.
    """
    values = dict(task)  # parts that stay are valid already; those that may change are plain
    values["questions"] = {name: asked.model_dump() for name, asked in task.questions.items()}
    values["budget"] = task.budget.model_dump()
    values["wrapper"] = task.wrapper.model_dump() if task.wrapper is not None else None
    return parse_task(override(values, [setting]), "--probe")


SET = Probe(
    "set",
    "one key of the task that words prompts, as --set takes it: a note, a question, a template",
    _edits,
    prompts=True,
    takes="KEY=VALUE",
)
