"""Checkpoints that can be trusted: one is whole when its mark, written last, agrees with its files.

A run that is killed while it writes leaves a folder without a mark; a disk that fills up leaves
files that are too short. Neither is ever resumed from.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from promptrank.basics.digests import file_digest
from promptrank.basics.json_files import read_json
from promptrank.basics.seals import first_damage, read_sealed, write_sealed
from promptrank.errors import InputError

MARK = "whole.json"
_PREFIX = "checkpoint-"


def mark(folder: Path) -> None:
    """Declare the checkpoint whole, with the digest of each of its files."""
    digests = {str(p.relative_to(folder)): file_digest(p) for p in _files(folder)}
    write_sealed(folder / MARK, digests, indent=1)
    with (folder / MARK).open("rb") as file:
        os.fsync(file.fileno())


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None where it is whole."""
    try:
        expected = read_sealed(folder / MARK, then="")
    except InputError:
        return "it was not written to its end"
    problem = first_damage(folder, expected)
    return problem.removeprefix(f"{folder}{os.sep}") if problem is not None else None


def newest(run: Path, say: Callable[[str], None]) -> Path | None:
    """The newest whole checkpoint; those that are not whole are reported and removed."""
    latest = None
    for folder in sorted(run.glob(f"{_PREFIX}*"), key=step_of):
        if problem := damage(folder):
            say(f"{folder.name} is not used: {problem}")
            shutil.rmtree(folder)
        else:
            latest = folder
    return latest


def step_of(folder: Path) -> int:
    """The step after which a checkpoint was written."""
    tail = folder.name.removeprefix(_PREFIX)
    return int(tail) if tail.isdigit() else -1


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint after a step lies."""
    return run / f"{_PREFIX}{step}"


def best_of(folder: Path) -> Path | None:
    """The best checkpoint when this one was written; None in a run without validation.

    Its step is what counts: the run's folder may have been moved since.
    """
    step = _state(folder).get("best_global_step")
    return folder_of(folder.parent, step) if step else None


def check_best(folder: Path) -> None:
    """InputError where the best checkpoint so far is gone, or was damaged and removed."""
    best = best_of(folder)
    if best is not None and not best.is_dir():
        raise InputError(
            f"{folder.parent}: {best.name}, the best so far, is missing or damaged, so the run "
            "cannot end as it would have; start over with --overwrite"
        )


def is_last(folder: Path) -> bool:
    """Whether training had ended here: all steps done, or no gain for too long."""
    callbacks = _state(folder).get("stateful_callbacks") or {}
    control = callbacks.get("TrainerControl") or {}
    return bool((control.get("args") or {}).get("should_training_stop"))


def _state(folder: Path) -> dict[str, Any]:
    """The state of training that transformers saved with a checkpoint."""
    then = "start over with --overwrite"
    return read_json(folder / "trainer_state.json", error=InputError, then=then, constants=True)


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
