"""What a killed process leaves: half-written files, folders put aside, scratch folders.

Only who holds the lock of a name may clear what belongs to it (`promptrank.basics.owner`); names
follow from the lock's own, so that a lock file in a shared folder can point to nothing else.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SCRATCH = "promptrank-"
"""How the names of scratch folders begin."""
_TOGETHER = (".parquet", ".jsonl", ".json", ".errors.jsonl", ".config.json", ".items.arrow")
"""Endings of files that are written under the lock of their stem."""
_LEFT = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<kind>part|old)", re.DOTALL)


def part_of(path: Path) -> Path:
    """Where something is written before it takes its place."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def old_of(path: Path) -> Path:
    """Where a folder lies until the one that takes its place stands."""
    return path.with_name(f".{path.name}.{os.getpid()}.old")


def clear(folder: Path, name: str) -> None:
    """Clear what a killed owner of ``name`` left in a folder; the caller holds its lock.

    A folder that was put aside and never replaced is put back.
    """
    whole = {name, *(name + ending for ending in _TOGETHER)}
    for path, of, kind in _left(folder):
        if of not in whole:
            continue
        if kind == "old" and not os.path.lexists(folder / of):
            with suppress(OSError):
                path.replace(folder / of)
        else:
            remove(path)
    if name.startswith(SCRATCH):
        remove(folder / f".{name}")


def clear_parts(folder: Path) -> None:
    """Clear every half-written file in a folder of which the caller holds all."""
    for path, _, kind in _left(folder):
        if kind == "part":
            remove(path)


def clear_old(place: Path) -> None:
    """Remove the folders that ``place`` has replaced, killed processes' among them."""
    for path, of, kind in _left(place.parent):
        if of == place.name and kind == "old":
            remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _left(folder: Path) -> Iterator[tuple[Path, str, str]]:
    """What bears a name as `part_of` and `old_of` give: path, the name of what it is of, kind."""
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            if match := _LEFT.fullmatch(path.name):
                yield path, match["name"], match["kind"]
