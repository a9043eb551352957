"""Arrow columns to Python values: the one way from tables and files into prompts and features.

By whole columns, which is several times faster than value by value. It never raises, whatever a
column holds:

* whole numbers are ``int``, of any width, decimals without places among them;
* a number in floating point, of 16, 32 or 64 bits, is the ``float`` that prints as the shortest
  decimal that reads back (12.8 of 32 bits is 12.8, not 12.800000190734863); NaN is None;
* a decimal with places is the ``float`` that prints the same, and stays a ``Decimal`` where a float
  would lose digits;
* dates and times are Python's, and text where Python has none (`promptrank.requests.moments`);
* lists, structs and maps hold such values, at any depth;
* text that is not valid UTF-8 is left as ``bytes``, which no prompt prints.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from promptrank.requests.moments import moments

Decoder = Callable[[pa.Array], list[Any]]


def decode(array: pa.Array) -> list[Any]:
    """The values of a column."""
    kind = array.type
    if pt.is_struct(kind):
        return _structs(array)
    if pt.is_map(kind):
        keys, values = decode(array.keys), decode(array.items)
        return _slices(array, list(zip(keys, values, strict=True)), _dict)
    if pt.is_list(kind) or pt.is_large_list(kind):
        return _slices(array, decode(array.values), list)
    if pt.is_dictionary(kind):
        words = decode(array.dictionary)
        places = decode(array.indices)
        return [None if i is None else words[i] for i in places]
    if pt.is_string(kind) or pt.is_large_string(kind):
        return _texts(array)
    if pt.is_float64(kind):
        return [None if x != x else x for x in array.to_numpy(zero_copy_only=False).tolist()]
    if pt.is_integer(kind) and array.null_count == 0:
        numbers: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return numbers
    if pt.is_null(kind):
        return [None] * len(array)
    return _rare(array)


def _rare(array: pa.Array) -> list[Any]:
    """Columns of types that are seldom met."""
    kind = array.type
    if pt.is_floating(kind):
        # NumPy writes the shortest digits that read back at the width the numbers have.
        short = array.to_numpy(zero_copy_only=False).astype(str).astype(np.float64)
        return [None if x != x else x for x in short.tolist()]
    if pt.is_decimal(kind):
        return [None if x is None else _decimal(x, kind.scale) for x in array.to_pylist()]
    if pt.is_temporal(kind):
        return moments(array)
    if isinstance(kind, pa.BaseExtensionType):
        values = decode(array.storage)
        is_uuid = kind.extension_name == "arrow.uuid"
        return [str(uuid.UUID(bytes=x)) if is_uuid and x is not None else x for x in values]
    if pt.is_fixed_size_list(kind) or pt.is_list_view(kind):
        return decode(array.cast(pa.list_(kind.value_type)))
    if pt.is_large_list_view(kind):
        return decode(array.cast(pa.large_list(kind.value_type)))
    if pt.is_run_end_encoded(kind):
        return decode(pc.run_end_decode(array))
    if pt.is_string_view(kind):
        return decode(array.cast(pa.large_string()))
    plain: list[Any] = array.to_pylist()
    return plain


def _texts(array: pa.Array) -> list[Any]:
    try:
        texts: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return texts
    except (UnicodeDecodeError, pa.ArrowException):
        large = pt.is_large_string(array.type)
        raw = array.view(pa.large_binary() if large else pa.binary()).to_pylist()
        return [_text(x) for x in raw]


def _text(raw: bytes | None) -> str | bytes | None:
    try:
        return raw.decode() if raw is not None else None
    except UnicodeDecodeError:
        return raw


def _decimal(value: Decimal, scale: int) -> int | float | Decimal:
    if scale <= 0:
        return int(value)
    short = float(value)
    return short if Decimal(repr(short)) == value else value


def _dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """A map's keys may be lists or structs, which no Python dict can have: they become text."""
    try:
        return dict(pairs)
    except TypeError:
        return {str(key): value for key, value in pairs}


def tuples(array: pa.Array, names: Sequence[str], special: Mapping[str, Decoder]) -> list[Any]:
    """Structs as tuples of these fields; what is missing is None, and a NULL is all None."""
    here = {field.name for field in array.type} if pt.is_struct(array.type) else set()
    columns: list[list[Any]] = []
    flat = dict(zip([f.name for f in array.type], array.flatten(), strict=True)) if here else {}
    for name in names:
        values = special.get(name, decode)(flat[name]) if name in here else [None] * len(array)
        columns.append(values)
    return list(zip(*columns, strict=True))


def labels(array: pa.Array) -> list[Any]:
    """Structs of text as dicts without their NULLs, {} for NULL itself.

    Equal structs share one dict: do not change it.
    """
    if not pt.is_struct(array.type):
        return [x and {k: v for k, v in x.items() if v is not None} for x in decode(array)]
    names = [field.name for field in array.type]
    shared: dict[tuple[Any, ...], dict[str, Any]] = {}
    rows: list[Any] = []
    for values in zip(*[decode(column) for column in array.flatten()], strict=True):
        row = shared.get(values)
        if row is None:
            pairs = zip(names, values, strict=True)
            row = shared[values] = {n: v for n, v in pairs if v is not None}
        rows.append(row)
    return rows


def lists_of(array: Any, values: list[Any]) -> list[Any]:
    """The lists of a list column, given its decoded values; None where a list is NULL."""
    return _slices(array, values, list)


def _structs(array: pa.StructArray) -> list[Any]:
    names = [field.name for field in array.type]
    if not names:
        return [{} if ok else None for ok in array.is_valid().to_pylist()]
    # `field` ignores the struct's own offset and its own NULLs; `flatten` minds both.
    columns = [decode(column) for column in array.flatten()]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    if array.null_count == 0:
        return rows
    valid = array.is_valid().to_numpy(zero_copy_only=False).tolist()
    return [row if ok else None for row, ok in zip(rows, valid, strict=True)]


def _slices(array: Any, values: list[Any], make: Any) -> list[Any]:
    offsets = array.offsets.to_numpy(zero_copy_only=False).tolist()
    rows = [make(values[a:b]) for a, b in pairwise(offsets)]
    if array.null_count == 0:
        return rows
    valid = array.is_valid().to_numpy(zero_copy_only=False).tolist()
    return [row if ok else None for row, ok in zip(rows, valid, strict=True)]


def rows_of(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch as dicts."""
    columns = [decode(column) for column in batch.columns]
    names = batch.schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
