"""Answers as bytes: little-endian, with a checksum that knows whose answer it is.

    int32 argmax (-1: none), float64 label mass, float64 log-probs ..., 8 bytes of BLAKE2b

The checksum is over the entry's key, its subject and the numbers. So an answer that was damaged,
or that stands under another key than it was written for, is none.
"""

import hashlib
import struct

from promptrank.engine.contract import SlotScore

_CHECK = 8  # bytes
_HEAD = struct.Struct("<id")
_NUMBER = 8  # bytes of a log-prob
_ROUNDING = 1e-3  # by so much a log-prob may stand above 0, and a label mass above 1


def packed(key: bytes, subject: bytes, score: SlotScore) -> bytes:
    """An answer as bytes."""
    argmax = -1 if score.argmax is None else score.argmax
    numbers = struct.pack(f"<id{len(score.logprobs)}d", argmax, score.label_mass, *score.logprobs)
    return numbers + _checksum(key, subject, numbers)


def unpacked(key: bytes, subject: object, value: object) -> SlotScore | None:
    """The answer in bytes; None where they are not what was written."""
    if not isinstance(value, bytes) or not isinstance(subject, bytes):
        return None  # a damaged file may give anything
    if len(value) < _HEAD.size + _CHECK:
        return None
    numbers, check = value[:-_CHECK], value[-_CHECK:]
    if check != _checksum(key, subject, numbers) or (len(numbers) - _HEAD.size) % _NUMBER:
        return None
    count = (len(numbers) - _HEAD.size) // _NUMBER
    argmax, mass, *logprobs = struct.unpack(f"<id{count}d", numbers)
    score = SlotScore(tuple(logprobs), mass, None if argmax < 0 else argmax)
    return score if believable(score, count) else None


def believable(score: SlotScore, paths: int) -> bool:
    """Whether an engine could answer so about a slot of so many paths."""
    if len(score.logprobs) != paths:
        return False
    if score.argmax is not None and not 0 <= score.argmax < paths:
        return False
    # NaN is not within any bound.
    logs = all(value <= _ROUNDING for value in score.logprobs)
    return logs and 0 <= score.label_mass <= 1 + _ROUNDING


def _checksum(key: bytes, subject: bytes, numbers: bytes) -> bytes:
    whole = hashlib.blake2b(key, digest_size=_CHECK)
    whole.update(len(subject).to_bytes(1, "little"))
    whole.update(subject)
    whole.update(numbers)
    return whole.digest()
