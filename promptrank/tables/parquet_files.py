"""Parquet files of one table, whose columns may differ in type from file to file."""

from dataclasses import dataclass

from promptrank.basics.sql import (
    Connection,
    columns,
    ident,
    is_float,
    is_number,
    literal,
    run,
    text_of,
)
from promptrank.errors import DataError

_EXACT = 2**53  # whole numbers up to here have a floating-point form of their own
_IN_64 = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_NESTED = ("STRUCT", "MAP", "UNION")
_UNION = ", union_by_name = true"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column as one of the files has it."""

    file: str
    kind: str


def parquet_rows(
    con: Connection, where: str, files: list[str], ids: set[str], more: str = ""
) -> str:
    """What to select from: the files by the names of their columns.

    Args:
        more: options of DuckDB's reader.

    Raises:
        DataError: a column whose types cannot be brought together without a loss.
    """
    place = f"{where}.path"
    if len(files) == 1 and "*" not in files[0]:
        return _scan(files, more)
    schemas = {file: columns(con, _scan([file]), place) for file in _each(con, files, place)}
    by_name: dict[str, list[_Column]] = {}
    for file, kinds in schemas.items():
        for name, kind in kinds.items():
            by_name.setdefault(name, []).append(_Column(file, kind))
    mixed = {n: cols for n, cols in by_name.items() if len({c.kind for c in cols}) > 1}
    casts = {n: _casts(con, place, n, cols, n in ids) for n, cols in mixed.items()}
    if not any(casts.values()):
        return _scan(files, _UNION + more)
    # Files are read together only where they agree: DuckDB would bring them together first.
    alike: dict[tuple[str | None, ...], list[str]] = {}
    for file, kinds in schemas.items():
        alike.setdefault(tuple(kinds.get(n) for n in casts), []).append(file)
    parts = []
    for group in alike.values():
        own = {n: by_file[group[0]] for n, by_file in casts.items() if group[0] in by_file}
        replaced = ", ".join(f"{e} AS {ident(n)}" for n, e in own.items())
        chosen = f"* REPLACE ({replaced})" if own else "*"
        parts.append(f"SELECT {chosen} FROM {_scan(group, _UNION + more)}")
    return f"({' UNION ALL BY NAME '.join(parts)})"


def _scan(files: list[str], more: str = "") -> str:
    names = "[" + ", ".join(literal(file) for file in files) + "]"
    return f"read_parquet({names}, hive_partitioning = false{more})"


def _each(con: Connection, files: list[str], place: str) -> list[str]:
    """The files one by one; a URL may stand for several."""
    each: list[str] = []
    for file in files:
        if "*" in file and "://" in file:
            rows = run(con, f"SELECT file FROM glob({literal(file)})", place).fetchall()
            each += [str(row[0]) for row in rows]
        else:
            each.append(file)
    return each


def _casts(
    con: Connection, place: str, name: str, cols: list[_Column], is_id: bool
) -> dict[str, str]:
    """SQL of a column by file, for the files that need it to agree with the others."""
    filled = [c for c in cols if _any(con, place, name, c)]
    kinds = {c.kind for c in filled}
    # A column without any value has a type by accident.
    kind = filled[0].kind if len(kinds) == 1 else "VARCHAR"
    casts = {c.file: f"CAST(NULL AS {kind})" for c in cols if c not in filled}
    if len(kinds) < 2:
        return casts
    cast = _cast(con, place, name, filled)
    if cast is None:  # what DuckDB makes of them loses nothing
        return {}
    if cast == "VARCHAR" and is_id:
        return casts | {c.file: text_of(ident(name), c.kind) for c in filled}
    # By way of text, since 12.8 of 32 bits is another number of 64.
    short = {c.file: f"CAST({ident(name)} AS VARCHAR)" for c in filled if c.kind == "FLOAT"}
    plain = {c.file: short.get(c.file, ident(name)) for c in filled}
    return casts | {file: f"CAST({x} AS {cast})" for file, x in plain.items()}


def _cast(con: Connection, place: str, name: str, filled: list[_Column]) -> str | None:
    """The type that the files agree on, None where DuckDB finds it by itself."""
    kinds = {c.kind for c in filled}
    if all(k.startswith(("TIMESTAMP", "DATE")) for k in kinds):
        return None
    if any(k.startswith(_NESTED) or k.endswith("]") for k in kinds):
        raise DataError(f"{place}: {_differ(name, filled)}; write it with one type")
    if all(map(_is_exact, kinds)):
        if all(k.startswith("DECIMAL") for k in kinds) or not all(map(_is_whole, kinds)):
            return None
        return "BIGINT" if all(k in _IN_64 for k in kinds) else "HUGEINT"
    if all(_is_exact(k) or is_float(k) for k in kinds):
        for col in filled:
            _refuse_loss(con, place, name, col, filled)
        return "DOUBLE"
    return "VARCHAR"


def _any(con: Connection, place: str, name: str, col: _Column) -> bool:
    sql = f"SELECT 1 FROM {_scan([col.file])} WHERE {ident(name)} IS NOT NULL LIMIT 1"
    return run(con, sql, place).fetchone() is not None


def _is_exact(kind: str) -> bool:
    return is_number(kind) and not is_float(kind)


def _is_whole(kind: str) -> bool:
    return _is_exact(kind) and not (kind.startswith("DECIMAL") and not kind.endswith(",0)"))


def _refuse_loss(
    con: Connection, place: str, name: str, col: _Column, filled: list[_Column]
) -> None:
    """DataError where a float would round a value of this file."""
    if is_float(col.kind):
        return
    x = ident(name)
    back = f"TRY_CAST(CAST({x} AS DOUBLE) AS {col.kind})"
    row = run(
        con,
        f"SELECT CAST({x} AS VARCHAR) FROM {_scan([col.file])} "
        f"WHERE abs(CAST({x} AS DOUBLE)) > {_EXACT} OR {back} IS DISTINCT FROM {x} LIMIT 1",
        place,
    ).fetchone()
    if row is not None:
        raise DataError(
            f"{place}: {_differ(name, filled)}; floating point cannot hold {row[0]}, so digits "
            "would be lost: write the column with one type"
        )


def _differ(name: str, cols: list[_Column]) -> str:
    first, other = cols[0], next(c for c in cols if c.kind != cols[0].kind)
    return f"column {name!r} is {first.kind} in {first.file} and {other.kind} in {other.file}"
