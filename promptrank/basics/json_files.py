"""JSON that is read back from a file: whatever is wrong with it is one sentence with its place.

Nothing of a file is believed before it is read here. Refused are: what is no UTF-8 (a byte-order
mark is passed over), no JSON, or no object; a key that comes twice; nesting beyond `DEEP`; a file
beyond `LARGE`; a number too large for a float; and NaN and infinity, unless ``constants`` says that
the file may hold them. `checked` then holds an object against the types of a dataclass.
"""

import json
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from promptrank.errors import DataError, InputError

DEEP = 100
"""So many levels an object may have; ours have fewer than ten."""
LARGE = 256 << 20
"""So many bytes a file may have."""
_LARGEST = 10**308

T = TypeVar("T")


def read_json(
    path: Path,
    *,
    error: type[InputError] = DataError,
    then: str = "",
    constants: bool = False,
) -> dict[str, Any]:
    """The object in a file.

    Args:
        error: what is raised.
        then: what to do about a fault, for the message.
        constants: NaN and infinity are allowed.

    Raises:
        error: not there, or nothing that can be believed; the message names the file.
    """
    try:
        size = path.stat().st_size
        if size > LARGE:
            raise error(_sentence(path, f"has {size:,} bytes, more than {LARGE:,}", then))
        data = path.read_bytes()
    except OSError as fault:
        why = f"cannot be read ({fault.strerror or fault})"
        raise error(_sentence(path, why, then)) from None
    return json_object(data, str(path), error=error, then=then, constants=constants)


def json_object(
    data: bytes | str,
    where: str,
    *,
    error: type[InputError] = DataError,
    then: str = "",
    constants: bool = False,
) -> dict[str, Any]:
    """The object that a text is; ``where`` it comes from stands first in messages.

    Raises:
        error: nothing that can be believed.
    """
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.removeprefix("\ufeff")
        value = json.loads(text, object_pairs_hook=_once)
    except UnicodeDecodeError as fault:
        raise error(_sentence(where, f"is not UTF-8 (at byte {fault.start})", then)) from None
    except RecursionError:
        raise error(_sentence(where, f"is nested more than {DEEP} deep", then)) from None
    except _Twice as fault:
        raise error(_sentence(where, f"has the key {str(fault)[:80]!r} twice", then)) from None
    except ValueError as fault:
        raise error(_sentence(where, f"is not JSON ({fault})", then)) from None
    if not isinstance(value, dict):
        what = "null" if value is None else f"a {type(value).__name__}"
        raise error(_sentence(where, f"holds {what}, not an object", then))
    if problem := _odd(value, constants):
        raise error(_sentence(where, problem, then))
    return value


def checked(
    kind: type[T],
    value: dict[str, Any],
    where: str | Path,
    *,
    error: type[InputError] = DataError,
    what: str,
    then: str = "",
) -> T:
    """An object as a dataclass (or another type), strictly: text is no number, and so on.

    Args:
        what: the file should be, such as "a student's card".

    Raises:
        error: another shape; the message lists every problem with its key.
    """
    try:
        adapter: TypeAdapter[T] = _adapter(cast(Any, kind))
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as fault:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}"
            for e in fault.errors(include_url=False, include_context=False, include_input=False)
        ]
        listed = "; ".join(problems[:10])
        raise error(_sentence(where, f"not {what} ({listed})", then)) from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


class _Twice(ValueError):
    """A key that comes twice in one object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key)
            seen.add(key)
    return made


def _odd(value: dict[str, Any], constants: bool) -> str | None:
    """What no file of ours holds, by its key; found without recursion."""
    waiting: list[tuple[Any, str, int]] = [(value, "", 1)]
    while waiting:
        inside, at, depth = waiting.pop()
        if depth > DEEP:
            return f"is nested more than {DEEP} deep"
        pairs: Iterable[tuple[Any, Any]]
        pairs = inside.items() if isinstance(inside, dict) else enumerate(inside)
        for key, each in pairs:
            kind = type(each)
            if kind is dict or kind is list:
                waiting.append((each, f"{at}{key}.", depth + 1))
            elif kind is float and not constants and not math.isfinite(each):
                return f"holds {each} under {at}{key}, not a number"
            elif kind is int and not -_LARGEST < each < _LARGEST:
                return f"holds a number of {len(str(each)):,} digits under {at}{key}"
    return None


def _sentence(where: str | Path, problem: str, then: str) -> str:
    text = f"{where}: {problem}"
    return f"{text}; {then}" if then else text
