"""The kinds of students by name."""

from pathlib import Path
from typing import Protocol

from promptrank.distillation.lessons import Lessons, Settings
from promptrank.distillation.student import Say, Student
from promptrank.errors import InputError
from promptrank.schema.task import Task

KINDS = ("gbdt", "sequence", "decoder")


class Kind(Protocol):
    """A module of this package that makes students."""

    def fit(self, task: Task, lessons: Lessons, settings: Settings, say: Say) -> Student:
        """Learn; DataError where there is too little to learn from."""
        ...

    def load(self, task: Task, folder: Path, threads: int | None) -> Student:
        """Read a student's folder."""
        ...


def kind_of(name: str) -> Kind:
    """The module of a kind that needs no prompt; heavy libraries are imported here, not before."""
    if name == "gbdt":
        from promptrank.distillation import gbdt

        return gbdt
    if name == "sequence":
        from promptrank.distillation import sequence

        return sequence
    raise InputError(f"no kind of student {name!r}; kinds: {', '.join(KINDS)}")
