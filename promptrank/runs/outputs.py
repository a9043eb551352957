"""Where results may be written, checked and taken before anything is computed."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.basics.addresses import address
from promptrank.basics.owner import owned
from promptrank.basics.paths import NAME_BYTES, expanded
from promptrank.errors import InputError

_COMPANIONS = 40
"""Bytes that the longest name beside it has more: ``.x.scores.errors.jsonl.PID.part``."""


def check_output(
    out: str | Path, suffixes: tuple[str, ...], inputs: Iterable[str | Path | None] = ()
) -> Path:
    """The path of an output whose folder exists now.

    Raises:
        InputError: a name with another ending, a name that is too long, a folder, a device, a
            folder that cannot be made, or a name whose companions (``<stem>.errors.jsonl``) would
            overwrite those of an input.
    """
    path = expanded(out)
    if path.suffix not in suffixes:
        raise InputError(f"{path}: write to a file that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    if len(os.fsencode(path.name)) > NAME_BYTES - _COMPANIONS:
        raise InputError(
            f"{path}: the name is too long for the files that stand beside it; a name has at most "
            f"{NAME_BYTES - _COMPANIONS} bytes"
        )
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is a device or a pipe; results are written to plain files")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: no folder can be made there ({error.strerror})") from None
    for given in inputs:
        if given is None or address(given) is not None:
            continue
        other = expanded(given)
        same = path.exists() and other.exists() and path.samefile(other)  # under two names
        if same or (other.resolve().parent, other.stem) == (path.resolve().parent, path.stem):
            raise InputError(
                f"{path}: would overwrite {other} or the files that belong to it; "
                "choose another name"
            )
    return path


def same_file(one: str | Path, other: str | Path | None) -> bool:
    """Whether both paths are one file, under whatever names."""
    if other is None or address(one) is not None or address(other) is not None:
        return False
    first, second = expanded(one), expanded(other)
    if first.exists() and second.exists():
        return first.samefile(second)
    return first.resolve() == second.resolve()


@contextmanager
def taken(path: str | Path | None, command: str) -> Iterator[None]:
    """Be the only one that writes an output and the files that belong to it.

    Outputs of one stem share files (``<stem>.errors.jsonl``), so they go together.

    Args:
        path: as `check_output` gave it; None where nothing is to be written.
        command: what writes it, for whoever comes second: ``rank``.

    Raises:
        InputError: another process, or another thread of this one, writes it.
    """
    if path is None:
        yield
        return
    with owned(Path(path), command, name=Path(path).stem):
        yield
