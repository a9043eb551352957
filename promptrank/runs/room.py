"""A disk that is full while a run writes: one sentence, and nothing half-written counts as done."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.errors import DataError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def told_if_full(folder: Path, number: int, wanted: int) -> Iterator[None]:
    """Where the disk has no room for a shard, say so, and how to go on.

    Args:
        wanted: bytes that its files take at most.

    Raises:
        DataError: a write in the context found the disk full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(
            f"{error.filename or folder}: {os.strerror(error.errno)}: shard {number} takes up to "
            f"{_size(wanted)}, and {_free(folder)} are free there; free some space, and the same "
            "command goes on where it was"
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether a full disk is behind an error: its own, or that which it was raised from."""
    behind = error if isinstance(error, OSError) else error.__cause__
    return isinstance(behind, OSError) and behind.errno in _FULL


def _free(folder: Path) -> str:
    try:
        return _size(shutil.disk_usage(folder).free)
    except OSError:
        return "an unknown number of bytes"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"
