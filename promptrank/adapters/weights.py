"""Which model a folder holds: one digest over its weights."""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from promptrank.basics.json_files import LARGE, json_object
from promptrank.errors import ModelError

_AGAIN = "get it or make it again"
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
            size = file.stat().st_size
            length = int.from_bytes(stream.read(8), "little")
            if length > min(size, LARGE):
                raise ValueError("the header is longer than the file")
            head = stream.read(length)
        header = json_object(head, f"{file}: its header", error=ModelError, then=_AGAIN)
        header.pop("__metadata__", None)
        start = 8 + length
        for name, about in header.items():
            begin, end = about["data_offsets"]
            if not 0 <= begin <= end <= size - start:
                raise ValueError(f"{name} lies outside the file")
            yield name, str(about["dtype"]), str(about["shape"]), file, start + begin, start + end
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"{file}: not a safetensors file ({error}); {_AGAIN}") from None


def _blocks(stream: BinaryIO, left: int) -> Iterator[bytes]:
    while left > 0 and (block := stream.read(min(_BLOCK, left))):
        left -= len(block)
        yield block
