"""Which model a folder holds: one digest over its weights."""

import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from promptrank.errors import ModelError

_BLOCK = 1 << 22


def weights_digest(folder: str | Path) -> str:
    """SHA-256 over the tensors of a model folder: names, types, shapes and values.

    Config and file layout do not count: the same weights saved by another version of transformers,
    or in other shards, are the same base to an adapter.

    Raises:
        ModelError: no safetensors file, or one that cannot be read.
    """
    path = Path(folder)
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{path}: no safetensors file, so no model folder")
    stamps = tuple((f, f.stat().st_size, f.stat().st_mtime_ns) for f in files)
    return _digest(stamps)


@lru_cache(maxsize=16)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Cached by the files' sizes and times."""
    tensors = sorted(tensor for file, _, _ in files for tensor in _tensors(file))
    digest = hashlib.sha256()
    for name, kind, shape, file, begin, end in tensors:
        digest.update(f"{name} {kind} {shape} ".encode())
        with file.open("rb") as stream:
            stream.seek(begin)
            for block in _blocks(stream, end - begin):
                digest.update(block)
    return digest.hexdigest()


def _tensors(file: Path) -> Iterator[tuple[str, str, str, Path, int, int]]:
    """Name, type, shape, file and byte range of each tensor.

    The format: 8 bytes of header length, a JSON header, the data
    (https://huggingface.co/docs/safetensors).
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError("the header is longer than the file")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        for name, about in header.items():
            begin, end = about["data_offsets"]
            start = 8 + length
            yield name, about["dtype"], str(about["shape"]), file, start + begin, start + end
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{file}: not a safetensors file ({error})") from None


def _blocks(stream: BinaryIO, left: int) -> Iterator[bytes]:
    while left > 0 and (block := stream.read(min(_BLOCK, left))):
        left -= len(block)
        yield block
