"""Records of a journal, each with its length and a digest that goes on from the record before it.

A record is a head and a payload. The head holds the payload's length, a checksum of the head's own
start, and a digest over the digest before it and the payload. So a record that was changed, moved,
doubled, left out, or taken from another journal is told before anything reads its payload.
"""

import os
import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import BinaryIO
from zlib import crc32

_LENGTH = struct.Struct("<Q")
_HEAD = struct.Struct("<QI16s")
START = b"promptrank journal 2"
"""What the first digest goes on from; the number is the format's."""


def next_link(link: bytes, payload: bytes) -> bytes:
    """The digest of a payload that follows a record of digest ``link``."""
    return blake2b(link + payload, digest_size=16).digest()


def record(link: bytes, payload: bytes) -> bytes:
    """The bytes of a record.

    Args:
        link: digest of the record before it, or `START`.
    """
    length = _LENGTH.pack(len(payload))
    return _HEAD.pack(len(payload), crc32(link + length), next_link(link, payload)) + payload


class RecordReader:
    """Records that can be believed, in order, up to the first that cannot.

    Attributes:
        damaged: whether that one was changed; one that a kill cut short, and the end, are no
            damage.
        link: digest of the last record.
        end: where it ends.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size
        self.link, self.end, self.damaged = START, 0, False

    def __iter__(self) -> Iterator[bytes]:
        """The payloads; ``link`` and ``end`` move on once the next one is asked for."""
        while self._size - self.end >= _HEAD.size:
            self._file.seek(self.end)
            length, check, link = _HEAD.unpack(self._file.read(_HEAD.size))
            if check != crc32(self.link + _LENGTH.pack(length)):
                self.damaged = True
                return
            if length > self._size - self.end - _HEAD.size:
                return  # cut short
            payload = self._file.read(length)
            if link != next_link(self.link, payload):
                self.damaged = True
                return
            yield payload
            self.link, self.end = link, self.end + _HEAD.size + length
