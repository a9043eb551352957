"""Students by name: which there are, and what their cards say."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.project import open_project

if TYPE_CHECKING:
    from promptrank.students.card import StudentFolder


def list_students(project: str | Path | None = None) -> "Iterator[StudentFolder]":
    """Every student of a project, by name.

    Raises:
        ModelError: a card that cannot be read.
    """
    from promptrank.students.card import find_student, student_names

    root = open_project(project).root
    return (find_student(name, root) for name in student_names(root))


def show_student(name: str, *, project: str | Path | None = None) -> "StudentFolder":
    """One student by name or folder.

    Raises:
        ModelError: not there, or a card that cannot be read.
    """
    from promptrank.students.card import find_student

    return find_student(name, open_project(project).root)
