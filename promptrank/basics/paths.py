"""Paths as people give them, and errors that say which file they are about."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.basics.addresses import scheme_of
from promptrank.errors import InputError

NAME_BYTES = 255
"""What a file's name may have at most, in bytes; so it is on nearly every file system."""


def expanded(path: str | Path) -> Path:
    """A path with ``~`` and ``~user`` replaced.

    Raises:
        InputError: no such user, or what no file's name can be: one with a NUL character, one
            that is too long. An address (``s3://...``), where a local path is needed.
    """
    text = os.fspath(path)
    if (scheme := scheme_of(text)) is not None:
        raise InputError(
            f"{scheme}: an address stands where a local path is needed; docs/reference/places.md "
            "says which names are taken where"
        )
    if "\0" in text:
        raise InputError(f"{text!r}: a name cannot hold a NUL character; take it out")
    names = (name.encode("utf-8", "surrogatepass") for name in Path(text).parts)
    if any(len(name) > NAME_BYTES for name in names):
        raise InputError(
            f"{text[:80]}...: File name too long; choose a shorter one, of at most {NAME_BYTES} "
            "bytes"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = text.partition("/")[0]
        raise InputError(
            f"{text}: {user} has no home folder on this machine; write the path in full"
        ) from None


@contextmanager
def naming(path: Path, part: Path | None = None) -> Iterator[None]:
    """Errors of the operating system that name no file name ``path``.

    A full disk does not say which file it was that did not fit.

    Args:
        part: a file or folder that is written to in place of ``path``, and that no user knows.
    """
    try:
        yield
    except OSError as error:
        named = error.filename
        inside = part is not None and isinstance(named, str) and named.startswith(str(part))
        if named is None or inside:
            error.filename, error.filename2 = str(path), None
        raise
