"""Files that belong together, exchanged for others in their place, whenever the process is killed.

The new files are written beside the old ones first (``.000042.parquet.purged``). Then one file says
which they are, and from there on the exchange is only ever finished: it needs to know nothing of
whoever it was begun for.
"""

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from promptrank.basics.seals import read_sealed, write_sealed
from promptrank.errors import DataError

_ENDING = ".purged"


def made_for(path: Path) -> Path:
    """Where what takes the place of a file is written."""
    return path.with_name(f".{path.name}{_ENDING}")


def make(path: Path, write: Callable[[Path], None]) -> None:
    """Write what is to take the place of a file, with that file's mode."""
    place = made_for(path)
    place.unlink(missing_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode)
    os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    write(place)
    place.chmod(mode)
    with place.open("rb+") as file:
        os.fsync(file.fileno())


def exchange(intent: Path, paths: list[Path], sealed: Mapping[Path, Mapping[str, Any]]) -> None:
    """Put what was made for these paths in their place, all of it.

    Args:
        intent: the file that says so until it is done; the others lie in its folder or below.
        sealed: sealed JSON files, written last.
    """
    root = intent.parent
    write_sealed(
        intent,
        {
            "files": [path.relative_to(root).as_posix() for path in paths],
            "sealed": {p.relative_to(root).as_posix(): dict(v) for p, v in sealed.items()},
        },
    )
    finish(intent)


def finish(intent: Path) -> None:
    """Finish an exchange that was begun, if one was.

    Raises:
        DataError: what says so is damaged.
    """
    if not intent.is_file():
        return
    given = read_sealed(intent, then="remove it, and purge again")
    root = intent.parent
    for name in given["files"]:
        path = _within(root, name, intent)
        if made_for(path).is_file():
            made_for(path).replace(path)
    for name, value in given["sealed"].items():
        write_sealed(_within(root, name, intent), value)
    intent.unlink()


def clear_made(folder: Path) -> None:
    """Clear what was made for files of a folder, and below it, and was never put in their place."""
    for path in folder.rglob(f".*{_ENDING}"):
        path.unlink(missing_ok=True)


def _within(root: Path, name: str, intent: Path) -> Path:
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts:
        raise DataError(f"{intent}: names a file outside of its folder; remove it, and purge again")
    return root / place
