"""Damage as disks, copies and careless edits do it: bytes flipped, cut, inserted, doubled."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from promptrank.errors import PromptrankError

T = TypeVar("T")


def damages(data: bytes, times: int, seed: int) -> Iterator[bytes]:
    """The data with one fault each, at seeded places."""
    chance = random.Random(seed)
    for number in range(times):
        start = chance.randrange(len(data))
        end = min(len(data), start + chance.choice((1, 1, 4, 64, 1000)))
        kind = number % 6
        if kind == 0:
            flipped = data[start] ^ (1 << chance.randrange(8))
            made = data[:start] + bytes([flipped]) + data[start + 1 :]
        elif kind == 1:
            made = data[:start]
        elif kind == 2:
            made = data[:start] + chance.randbytes(end - start) + data[start:]
        elif kind == 3:
            made = data[:start] + bytes(end - start) + data[end:]
        elif kind == 4:
            made = data[:end] + data[start:end] + data[end:]
        else:
            made = data[:start] + data[end:]
        if made != data:
            yield made


def refused_or_the_same(
    file: Path, read: Callable[[], Any], times: int, *, seed: int = 0, named: str | None = None
) -> int:
    """Damage a file many times; what is read is the same each time, or one error that names it.

    Returns how often it was the same. ``named`` is what the error names instead of the file.
    """
    whole, value, same = file.read_bytes(), read(), 0
    try:
        for data in damages(whole, times, seed):
            file.write_bytes(data)
            try:
                got = read()
            except PromptrankError as error:
                assert (named or file.name) in str(error), str(error)
                assert "\n" not in str(error).strip(), str(error)
            else:
                same += 1
                assert got == value, f"{file.name}: another value from {data[:200]!r}..."
    finally:
        file.write_bytes(whole)
    assert read() == value
    return same


ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**400,
    2.5,
    1e308,
    float("nan"),
    float("-inf"),
    "",
    "\ud800",
    "a" * 5000,
    [],
    [[]],
    {},
    {"": None},
)


def odd_values(value: Any, times: int, seed: int) -> Iterator[Any]:
    """Copies of a JSON value with one key left out, or one value replaced by an odd one."""
    import copy

    chance = random.Random(seed)
    for _ in range(times):
        made = copy.deepcopy(value)
        inside, key = chance.choice(list(_places(made)))
        if isinstance(inside, dict) and chance.random() < 0.2:
            del inside[key]
        elif chance.random() < 0.1:
            inside[key] = _deep(chance.choice((50, 101, 5000)))
        else:
            inside[key] = chance.choice(ODD)
        yield made


def _deep(levels: int) -> Any:
    made: Any = []
    for _ in range(levels):
        made = [made]
    return made


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inside in pairs:
        yield value, key
        if isinstance(inside, dict | list):
            yield from _places(inside)
