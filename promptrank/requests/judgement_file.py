"""The judgements file of a task: read whole, written by appending a row.

Rows are appended under a lock and reach the disk before anybody is told that they are kept, so
that two people, two servers or a kill lose none. What a kill left of a last row, of which nobody
was told, is cut off by the next one.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from promptrank.basics.owner import owned
from promptrank.basics.paths import naming
from promptrank.errors import DataError, InputError
from promptrank.requests.judgement_rows import Judgement, line_of, row_of

FOLDER = "judgements"
ENDING = ".jsonl"
_WAIT = 10  # seconds for others who append; each holds the lock for milliseconds


def judgements_name(task: str) -> str:
    """Where a task's judgements lie in its project, as the task file would say."""
    return f"{FOLDER}/{task}{ENDING}"


def read_judgements(path: Path) -> list[Judgement]:
    """All rows, in the order of the file; none where it is not there yet.

    Raises:
        DataError: a row that is none, with its line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    rows = []
    whole = data[: _end(data)]
    for number, line in enumerate(whole.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append(replace(_row_of(line), line=number))
        except InputError as error:
            raise DataError(
                f"{path}:{number}: {error}; mend or remove that line (others are as they were)"
            ) from None
    return rows


def append_judgements(path: Path, rows: Sequence[Judgement]) -> None:
    """Add rows at the end; one whose id is there already is passed over.

    Raises:
        DataError: the file holds what is no judgement.
        InputError: it cannot be written to, or others keep it busy.
    """
    with owned(path, "label", wait=_WAIT):
        there = {row.id for row in read_judgements(path)}
        fresh = [row for row in rows if row.id not in there]
        if not fresh:
            return
        lines = b"".join(map(line_of, fresh))
        with naming(path, path), path.open("a+b") as file:
            file.seek(0)
            data = file.read()
            end = _end(data)
            if end < len(data):
                file.truncate(end)
            lead = b"\n" if end and data[:end][-1:] != b"\n" else b""
            file.write(lead + lines)
            file.flush()
            os.fsync(file.fileno())


# Lines never change, and a page that labels reads the file again with every answer.
_row_of = lru_cache(20_000)(row_of)


def _end(data: bytes) -> int:
    """Where the last whole row ends; one without a line's end is whole where it can be read."""
    last = data.rfind(b"\n") + 1
    if data[last:].strip():
        try:
            row_of(data[last:])
        except InputError:
            return last
    return len(data)
