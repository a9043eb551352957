"""DuckDB types that have no plain Python value, and what stands in for them."""

from functools import lru_cache
from typing import Any

import duckdb

_AS_TEXT = (
    "uuid",
    "blob",
    "interval",
    "bit",
    "enum",
    "bignum",
    "uhugeint",
    "time with time zone",
    "time_ns",
    "union",
    "variant",
    "geometry",
)


@lru_cache
def stand_in(kind: str) -> str | None:
    """The type to cast to, so that Arrow, parquet and Python can all hold the values.

    None where they can already, which is nearly always. Wide whole numbers and decimals stay:
    `promptrank.requests.decode` reads them exactly. What only DuckDB knows becomes text, at any
    depth. Whole seconds become milliseconds, because parquet would overflow on an infinite one.
    """
    try:
        parsed = duckdb.sqltype(kind)
    except duckdb.Error:  # a type of an extension
        return "VARCHAR"
    plain = _spelled(parsed, True)
    return None if plain == _spelled(parsed, False) else plain


def _spelled(kind: duckdb.sqltypes.DuckDBPyType, mended: bool) -> str:
    """The type as SQL, its odd parts replaced where it is to be mended."""
    name = str(kind.id)
    if mended and (name in _AS_TEXT or str(kind) == "JSON"):
        return "VARCHAR"
    if mended and name == "timestamp_s":
        return "TIMESTAMP_MS"
    if name not in ("struct", "map", "list", "array"):
        return str(kind)
    parts: list[tuple[str, Any]] = kind.children
    if name == "struct":
        quoted = ['"' + field.replace('"', '""') + '"' for field, _ in parts]
        fields = [f"{q} {_spelled(k, mended)}" for q, (_, k) in zip(quoted, parts, strict=True)]
        return f"STRUCT({', '.join(fields)})"
    inner = [_spelled(k, mended) for n, k in parts if n != "size"]
    if name == "map":
        return f"MAP({', '.join(inner)})"
    size = next((str(k) for n, k in parts if n == "size"), "")
    return f"{inner[0]}[{size}]"
