"""What a student is, and what each kind keeps.

A kind is one module with three functions and one class:

    check_options(settings) -> dict                   typed; called before a teacher is asked
    fit(task, lessons, settings, say) -> Student      learns from `promptrank.students.lessons`
    load(task, folder, threads) -> Student            reads back what ``save`` wrote

What a student keeps, whatever its kind (popularity dynamics and two towers would be two more
modules here): it sees a request's candidates and nothing of their outcomes; a candidate's answers
depend on subject, history, time and that candidate alone; what it could not read is a NaN with a
fall-back that ``notes`` names, never an invented field. Its files are plain: LightGBM text,
safetensors, JSON.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from promptrank.basics.arrays import Floats
from promptrank.records import Request


class Learned(Protocol):
    """What a kind has learned, ready to be written into a folder."""

    def facts(self) -> Mapping[str, Any]:
        """What a reader of its card should know: rounds, columns, what was skipped."""
        ...

    def save(self, folder: Path) -> None:
        """Write its files into an empty folder."""
        ...


class Student(Learned, Protocol):
    """A ranker that reads fields in place of a prompt."""

    def answers(self, request: Request) -> Mapping[str, Floats]:
        """Question -> (candidates, answers) natural-log probabilities, in the order of the task."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What it fell back on since it was made, one sentence each, with counts."""
        ...
