"""A task's corrections: found, read, and laid on the request file at hand."""

from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say
from promptrank.errors import DataError
from promptrank.workspace.tasks import OpenTask

if TYPE_CHECKING:
    from promptrank.requests.corrections import Corrections


def corrections_on(opened: OpenTask, path: Path, say: Say) -> "Corrections | None":
    """The corrections of a task as laid on a request file; None where the task names none.

    Raises:
        DataError: a file of corrections that is not there, or rows of it that cannot be meant.
    """
    from promptrank.requests.corrections import place_corrections, read_corrections

    files = correction_files(opened)
    if not files:
        return None
    corrections = place_corrections(read_corrections(files, opened.task), path, opened.task.form)
    say(corrections.told())
    return corrections


def correction_files(opened: OpenTask) -> list[Path]:
    """The files that a task names, looked up in the project first, then where the task lies.

    Raises:
        DataError: one of them is not there.
    """
    named = opened.task.corrections
    names = [named] if isinstance(named, str) else named or []
    roots = list(dict.fromkeys([opened.project, opened.place.root]))
    files = []
    for name in names:
        places = [root / expanded(name) for root in roots]
        there = [place for place in places if place.is_file()]
        if not there:
            raise DataError(
                f"{opened.place.path}: corrections: no file {places[0]}; leave `corrections` "
                f"out, and `promptrank eval {opened.name} --doubts FILE.csv` writes one to fill in"
            )
        files.append(there[0])
    return files
