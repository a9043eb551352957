"""A task's corrections: found, read, and laid on the request file at hand."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.paths import expanded
from promptrank.basics.plurals import counted
from promptrank.basics.telling import Say
from promptrank.errors import DataError
from promptrank.workspace.tasks import OpenTask

if TYPE_CHECKING:
    from promptrank.requests.corrections import Corrections
    from promptrank.requests.judgement_rows import Judgement, Standing


def corrections_on(opened: OpenTask, path: Path, say: Say) -> "Corrections | None":
    """The corrections of a task as laid on a request file; None where the task names none.

    Raises:
        DataError: a file of corrections that is not there, or rows of it that cannot be meant.
    """
    from promptrank.requests.corrections import place_corrections, read_corrections
    from promptrank.requests.judged_labels import judged_labels

    files = correction_files(opened)
    if not files:
        return None
    corrections = place_corrections(read_corrections(files, opened.task), path, opened.task.form)
    say(corrections.told())
    if split := sum(len(judged_labels(held).split) for held in _judged(files)):
        say(
            f"judgements: labellers are evenly split on {counted(split, 'label')}, which "
            f"{'stays' if split == 1 else 'stay'} as logged"
        )
    return corrections


def judged_preferences(opened: OpenTask) -> "list[Judgement]":
    """Choices between two candidates that the task's judgements files hold.

    Raises:
        DataError: a file that is not there, or holds what is no judgement.
    """
    return [row for held in _judged(correction_files(opened)) for row in held.preferences]


def judgements_path(opened: OpenTask) -> Path:
    """Where the workbench keeps a task's judgements: in the project."""
    from promptrank.requests.judgement_file import judgements_name

    return opened.project / judgements_name(opened.name)


def reads_judgements(opened: OpenTask) -> bool:
    """Whether the task's ``corrections`` name the file of `judgements_path`."""
    place = judgements_path(opened).resolve()
    return any((opened.project / expanded(name)).resolve() == place for name in _named(opened))


def _judged(files: Sequence[Path]) -> "Iterator[Standing]":
    from promptrank.requests.judgement_file import ENDING, read_judgements
    from promptrank.requests.judgement_rows import standing

    for path in files:
        if path.suffix == ENDING:
            yield standing(read_judgements(path))


def _named(opened: OpenTask) -> list[str]:
    named = opened.task.corrections
    return [named] if isinstance(named, str) else named or []


def correction_files(opened: OpenTask) -> list[Path]:
    """The files that a task names, looked up in the project first, then where the task lies.

    The judgements file that the workbench writes may not be there yet: nobody has labelled.

    Raises:
        DataError: one of them is not there.
    """
    roots = list(dict.fromkeys([opened.project, opened.place.root]))
    files = []
    for name in _named(opened):
        places = [root / expanded(name) for root in roots]
        there = [place for place in places if place.is_file()]
        if not there and places[0].resolve() == judgements_path(opened).resolve():
            continue
        if not there:
            raise DataError(
                f"{opened.place.path}: corrections: no file {places[0]}; leave `corrections` "
                f"out, and `promptrank eval {opened.name} --doubts FILE.csv` writes one to fill in "
                "(the workbench writes " + judgements_path(opened).as_posix() + ")"
            )
        files.append(there[0])
    return files
