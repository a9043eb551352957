"""Folders for passing use, which also go when the process that made them is killed."""

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.basics.leftovers import SCRATCH, remove
from promptrank.basics.owner import owned


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """An empty hidden folder that is gone when the context is left.

    It has a lock as outputs have: where its process was killed, the next scratch folder or output
    that is made beside it clears it away.

    Args:
        parent: where to make it; the system's folder for temporary files where left out.
    """
    root = parent if parent is not None else Path(tempfile.gettempdir())
    name = f"{SCRATCH}{secrets.token_hex(8)}"
    with owned(root / f".{name}", "scratch", name=name):
        folder = root / f".{name}"
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            remove(folder)
