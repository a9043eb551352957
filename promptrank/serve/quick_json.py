"""Bodies read by orjson where that is certain to give what `promptrank.basics.json_files` gives.

That reader is careful (no key twice, no infinity, no depths) and takes a tenth of what a student
needs for an answer. Nearly all bodies can be seen to be harmless by counting bytes; all others, and
all that is wrong, go the careful way, which has the messages.
"""

from typing import Any

import orjson

_BRACKETS = b"{}[]"
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(_BRACKETS)))
_DIGITS = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
_LONG = b"0" * 19  # digits of a whole number that may be too many for 64 bits
_ROUNDS = 12


def quick_object(data: bytes) -> dict[str, Any] | None:
    """The object in a body; None where only the careful reader can tell."""
    if _escaped(data) or _long_number(data) or not _shallow(data):
        return None
    try:
        value = orjson.loads(data)
        written = orjson.dumps(value)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None
    # A pair that was lost to another one of its name took its colon with it.
    same = written.count(b":") == data.count(b":")
    return value if same and isinstance(value, dict) else None


def _escaped(data: bytes) -> bool:
    """Whether an escape may spell a colon or a bracket."""
    return b"\\u00" in data and any(each in data for each in (b"\\u003", b"\\u005", b"\\u007"))


def _long_number(data: bytes) -> bool:
    """Whether there may be a whole number beyond 64 bits, which orjson would make a float."""
    digits = data.translate(_DIGITS)
    # What stands behind a point is no whole number.
    return digits.count(_LONG) > digits.count(b"." + _LONG)


def _shallow(data: bytes) -> bool:
    """Whether nothing is nested deeply; brackets in texts may make it say no."""
    brackets = data.translate(None, _NO_BRACKETS)
    for _ in range(_ROUNDS):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not brackets:
            return True
    return False
