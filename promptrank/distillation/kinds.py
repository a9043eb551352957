"""The kinds of students by name."""

from pathlib import Path
from typing import Any, Protocol

from promptrank.distillation.lessons import Lessons, Settings
from promptrank.distillation.student import Say, Student
from promptrank.errors import InputError
from promptrank.schema.task import Task

KINDS = ("gbdt", "sequence", "decoder")


class Kind(Protocol):
    """A module of this package that makes students."""

    def check_options(self, settings: Settings) -> dict[str, Any]:
        """All options, typed; InputError for those that cannot be."""
        ...

    def fit(self, task: Task, lessons: Lessons, settings: Settings, say: Say) -> Student:
        """Learn; DataError where there is too little to learn from."""
        ...

    def load(self, task: Task, folder: Path, threads: int | None) -> Student:
        """Read a student's folder."""
        ...


def kind_of(name: str) -> Kind:
    """The module of a kind that needs no prompt; heavy libraries are imported here, not before.

    Raises:
        InputError: no such kind, or its library is not installed.
    """
    if name == "gbdt":
        try:
            from promptrank.distillation import gbdt
        except ModuleNotFoundError as error:
            if error.name != "lightgbm":
                raise
            raise InputError(
                "student gbdt needs LightGBM: pip install 'promptrank[students]'"
            ) from None
        return gbdt
    if name == "sequence":
        from promptrank.distillation import sequence

        return sequence
    raise InputError(f"no kind of student {name!r}; kinds: {', '.join(KINDS)}")
