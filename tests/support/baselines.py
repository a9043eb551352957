"""Small requests for the tests of baselines, of one question ``q`` with the answers 0 and 1."""

from collections.abc import Sequence
from typing import Any

from promptrank.baselines.baseline import Aim, aim_of
from promptrank.records import Candidate, Event, Item
from support.data import make_task

QUESTION = {
    "q": {"answers": {"1": {"say": "Yes", "value": 1}, "0": {"say": "No", "value": 0}}},
}


def an_aim(texts: Sequence[str] | None = None, **parts: Any) -> Aim:
    """The aim of such a task, with parts of the task replaced."""
    return aim_of(make_task(questions=QUESTION, **parts), texts)


def candidate(name: str = "c", label: int | None = None, **more: Any) -> Candidate:
    """A candidate that is an item of its own name, with the answer ``label``."""
    fields = more.pop("fields", {})
    outcomes = {} if label is None else {"q": str(label)}
    return Candidate(name, Item(more.pop("item", name), fields), outcomes=outcomes, **more)


def event(name: str, label: int | None = None, time: float | None = None, **fields: Any) -> Event:
    """An event of an item, with the answer ``label``."""
    outcomes = {} if label is None else {"q": str(label)}
    return Event(Item(name, fields), time=time, outcomes=outcomes)
