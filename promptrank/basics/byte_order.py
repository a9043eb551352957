"""Files that begin with a byte-order mark, as spreadsheets and Windows write them."""

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def opened_past_mark(path: Path) -> Iterator[BinaryIO]:
    """A file of UTF-8 for reading, behind its byte-order mark if it has one."""
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        yield file
