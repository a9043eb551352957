"""Arrow columns to Python values by whole columns: several times faster than value by value."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

Decoder = Callable[[pa.Array], list[Any]]


def decode(array: pa.Array) -> list[Any]:
    """What ``array.to_pylist()`` gives, but maps as dicts and NaN as None."""
    kind = array.type
    if pt.is_struct(kind):
        return _structs(array)
    if pt.is_map(kind):
        keys, values = decode(array.keys), decode(array.items)
        return _slices(array, list(zip(keys, values, strict=True)), dict)
    if pt.is_list(kind) or pt.is_large_list(kind):
        return _slices(array, decode(array.values), list)
    if pt.is_dictionary(kind):
        words = decode(array.dictionary)
        places = decode(array.indices)
        return [None if i is None else words[i] for i in places]
    if pt.is_string(kind) or pt.is_large_string(kind):
        texts: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return texts
    if pt.is_floating(kind):
        return [None if x != x else x for x in array.to_numpy(zero_copy_only=False).tolist()]
    if pt.is_integer(kind) and array.null_count == 0:
        numbers: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return numbers
    if pt.is_null(kind):
        return [None] * len(array)
    plain: list[Any] = array.to_pylist()
    return plain


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
