"""What templates see of a request: the variables of each block, and why some are not there."""

from typing import Any

from promptrank.prompt.sandbox import Absent
from promptrank.prompt.template import Template
from promptrank.records import Event, Request
from promptrank.schema.task import Task

_NO_MEMBER = Absent("this request has no member; write {% if member %}...{% endif %}")
_NO_QUERY = Absent("this request has no query; write {% if query %}...{% endif %}")
_NO_SOURCE = Absent("this request has no source item; write {% if source %}...{% endif %}")
_NO_TIME = Absent("the request or the event has no time, so there is no clock to read")
_ORDER_ONLY = Absent("the data has an order and no clock, so times and ages mean nothing")


def subject_values(request: Request, ordered_only: bool) -> dict[str, Any]:
    """``member``, ``query``, ``source`` and ``now``; what the request lacks is false."""
    subject = request.subject
    now: Any = _NO_TIME if request.time is None else request.time
    return {
        "member": _NO_MEMBER if subject.member is None else subject.member,
        "query": _NO_QUERY if subject.query is None else subject.query,
        "source": _NO_SOURCE if subject.source is None else subject.source.fields,
        "now": _ORDER_ONLY if ordered_only else now,
    }


def event_values(request: Request, event: Event, ordered_only: bool) -> dict[str, Any]:
    """``event.action``, ``event.time`` and ``event.age`` (seconds before the request)."""
    if ordered_only:
        return {"action": event.action, "time": _ORDER_ONLY, "age": _ORDER_ONLY}
    if event.time is None:
        return {"action": event.action, "time": _NO_TIME, "age": _NO_TIME}
    age = _NO_TIME if request.time is None else request.time - event.time
    return {"action": event.action, "time": event.time, "age": age}


def question_values(task: Task) -> dict[str, dict[str, Any]]:
    """Per question: ``name``, ``ask`` and ``answers``, the first wording of each."""
    return {
        name: {
            "name": name,
            "ask": question.ask,
            "answers": [answer.say[0] for answer in question.answers.values()],
        }
        for name, question in task.questions.items()
    }


def task_problems(task: Task, template: Template) -> list[str]:
    """Where task and template do not go together, each ``where: what; what to do``."""
    problems = []
    history = task.history
    if history is not None and history.as_ == "list" and "event" not in template.uses:
        problems.append(
            f"template {template.name}: no block event, which history as: list shows; add "
            "{% block event %}...{% endblock %}, or take out history"
        )
    if task.ordered_only:
        problems += [
            f"template {template.files[block]}, block {block}: {path} is used, but "
            "the data has an order and no clock; take it out"
            for block, use in template.uses.items()
            for path in sorted(use.paths & {"event.time", "event.age", "now"})
        ]
    return problems
