"""Digests: equal ones mean equal content, in every process and on every machine."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def json_digest(value: Any, *, escaped: bool = True) -> str:
    """SHA-256 of a value's canonical JSON, in hex; what JSON has no form for counts as its text.

    Args:
        escaped: whether letters beyond ASCII count as JSON's escapes or as themselves, in UTF-8.
            The two give different digests; what is kept on disk stays with one of them.
    """
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=escaped)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_digest(paths: Iterable[Path]) -> str:
    """SHA-256 over the digests of files, in the order given; their names do not count."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(bytes.fromhex(file_digest(path)))
    return whole.hexdigest()
