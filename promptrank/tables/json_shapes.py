"""The types of a JSON file's columns, from all of its rows."""

import json
import re
from dataclasses import dataclass
from typing import Any

from promptrank.basics.sql import Connection, ident, literal, run
from promptrank.errors import DataError

_MANY = 200  # more keys than that are ids or words, not fields
_NUMBERS = {"BIGINT", "UBIGINT", "HUGEINT", "DOUBLE"}
_LARGEST = 64 * 2**20  # bytes of one row


@dataclass(frozen=True, slots=True)
class JsonShape:
    """How to read the files.

    Attributes:
        read: what to select from.
        numbers: columns that are read as text and hold numbers.
        wide: columns of whole numbers whose type may be wider than it needs to be.
    """

    read: str
    numbers: list[str]
    wide: list[str]


def shape_of(con: Connection, where: str, files: list[str], more: str = "") -> JsonShape:
    """Look at every row.

    Args:
        more: options of DuckDB's reader.

    Raises:
        DataError: the files cannot be read, or their rows are no objects.
    """
    place = f"{where}.path"
    names = "[" + ", ".join(literal(file) for file in files) + "]"
    rows = (
        f"read_json_objects({names}, maximum_object_size = {_LARGEST}, hive_partitioning = false)"
    )
    merged = _structure(con, place, rows)
    if not isinstance(merged, dict):
        raise DataError(f'{place}: each row of a JSON file is an object, such as {{"id": 1}}')
    if not merged:
        raise DataError(f"{place}: the table is empty ({', '.join(files)})")
    _refuse_twins(place, merged)
    kinds: dict[str, str] = {}
    numbers, wide = [], []
    for name, structure in merged.items():
        kinds[name] = _type(structure, exact=True)
        if structure == "DOUBLE":
            numbers.append(name)
            kinds[name] = "VARCHAR"
        elif structure in ("UBIGINT", "HUGEINT"):
            wide.append(name)
        elif "DOUBLE" in re.findall(r"\w+", kinds[name]) and _loses(con, place, rows, name):
            kinds[name] = _type(structure, exact=False)
    listed = ", ".join(f"{ident(n)}: {literal(k)}" for n, k in kinds.items())
    read = (
        f"read_json({names}, columns = {{{listed}}}, maximum_object_size = {_LARGEST}, "
        f"hive_partitioning = false{more})"
    )
    return JsonShape(read, numbers, wide)


def _structure(con: Connection, place: str, rows: str) -> Any:
    """What the rows are made of, all of them together.

    DuckDB's own sum, ``json_group_structure``, holds every row in memory.
    """
    # Sorted, since threads finish in any order, and the columns would stand in any order too.
    distinct = f"SELECT DISTINCT CAST(json_structure(json) AS VARCHAR) FROM {rows} ORDER BY 1"
    shapes = run(con, distinct, place)
    merged: Any = "NULL"
    while some := shapes.fetchmany(1024):
        for (shape,) in some:
            if shape is not None:
                merged = _both(merged, json.loads(shape))
    return {} if merged == "NULL" else merged


def _both(first: Any, other: Any) -> Any:
    """The structure of values of two structures; ``JSON`` where they are of several kinds."""
    if first == other or other == "NULL":
        return first
    if first == "NULL":
        return other
    if isinstance(first, dict) and isinstance(other, dict):
        return first | {n: _both(first.get(n, "NULL"), part) for n, part in other.items()}
    if isinstance(first, list) and isinstance(other, list):
        return [_both((first or ["NULL"])[0], (other or ["NULL"])[0])]
    if isinstance(first, str) and isinstance(other, str) and {first, other} <= _NUMBERS:
        return "DOUBLE" if "DOUBLE" in (first, other) else "HUGEINT"
    return "JSON"


def _type(structure: Any, exact: bool) -> str:
    """DuckDB's name of the type; what is of several kinds is text.

    Args:
        exact: whether floats may be floats; else they stay text, as they were written.
    """
    if isinstance(structure, list):
        return f"{_type(structure[0], exact) if structure else 'VARCHAR'}[]"
    if isinstance(structure, dict):
        if not structure:
            return "MAP(VARCHAR, VARCHAR)"
        kinds = {name: _type(part, exact) for name, part in structure.items()}
        twins = len({name.lower() for name in structure}) < len(structure)
        if len(structure) > _MANY or twins:
            return f"MAP(VARCHAR, {_common(set(kinds.values()))})"
        return "STRUCT(" + ", ".join(f"{ident(n)} {kind}" for n, kind in kinds.items()) + ")"
    if structure == "DOUBLE":
        return "DOUBLE" if exact else "VARCHAR"
    return structure if structure in _NUMBERS or structure == "BOOLEAN" else "VARCHAR"


def _common(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= _NUMBERS:
        return "DOUBLE" if "DOUBLE" in kinds else "HUGEINT"
    return "VARCHAR"


def _loses(con: Connection, place: str, rows: str, name: str) -> bool:
    """Whether a column of lists or objects has floats beside whole numbers of many digits."""
    value = f"CAST(json->{literal(_pointer(name))} AS VARCHAR)"
    numbers = f"regexp_replace({value}, '\"([^\"\\\\]|\\\\.)*\"', '', 'g')"
    long = r"(^|[^0-9.eE+-])-?[0-9]{16,}($|[^0-9.eE])"
    row = run(
        con, f"SELECT bool_or(regexp_matches({numbers}, {literal(long)})) FROM {rows}", place
    ).fetchone()
    return bool(row and row[0])


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _refuse_twins(place: str, merged: dict[str, Any]) -> None:
    """DuckDB's columns do not mind case; JSON's keys do."""
    seen: dict[str, str] = {}
    for name in merged:
        twin = seen.setdefault(name.lower(), name)
        if twin != name:
            raise DataError(
                f"{place}: rows call a field both {twin!r} and {name!r}; write it one way"
            )
