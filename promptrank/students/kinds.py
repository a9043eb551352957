"""The kinds of students by name."""

from pathlib import Path
from typing import Any, Protocol

from promptrank.basics.telling import Say
from promptrank.errors import InputError
from promptrank.schema.task import Task
from promptrank.students.lessons import Learning, Lessons
from promptrank.students.student import Student

KINDS = ("gbdt", "sequence", "decoder")


class Kind(Protocol):
    """A module of this package that makes students."""

    def check_options(self, settings: Learning) -> dict[str, Any]:
        """All options, typed; InputError for those that cannot be."""
        ...

    def fit(self, task: Task, lessons: Lessons, settings: Learning, say: Say) -> Student:
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
            from promptrank.students.gbdt import trees as gbdt
        except ModuleNotFoundError as error:
            if error.name != "lightgbm":
                raise
            raise InputError(
                "student gbdt needs LightGBM: pip install 'promptrank[students]'"
            ) from None
        return gbdt
    if name == "sequence":
        from promptrank.students.sequence import sasrec as sequence

        return sequence
    raise InputError(f"no kind of student {name!r}; kinds: {', '.join(KINDS)}")
