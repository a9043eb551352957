"""Files that appear whole or not at all: written beside their place, then renamed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptrank.basics.leftovers import clear_old, old_of, part_of, remove
from promptrank.basics.paths import naming


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of ``path`` when all went well.

    Works for a file, and for a folder that has no predecessor; where an error leaves the context
    nothing is left and what stood there before stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    remove(part)
    try:
        with naming(path, part):
            yield part
            part.replace(path)
    finally:
        remove(part)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file; a lone surrogate, which UTF-8 cannot hold, becomes an escape."""
    with beside(path) as part:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file; what JSON has no form for (paths, dates) becomes text."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def put_folder(made: Path, place: Path) -> None:
    """Move a folder to its place; one that stood there is removed once the new one stands."""
    old = old_of(place)
    if place.exists():
        place.replace(old)
    made.replace(place)
    clear_old(place)
