"""Tables of object stores, databases and Delta, brought to where the build's database lies."""

from pathlib import Path

from promptrank.basics.sql import Connection, literal, run
from promptrank.errors import DataError
from promptrank.places.table_files import table_files
from promptrank.tables.text_columns import AS_WRITTEN, column_types, typed


def brought(con: Connection, where: str, path: str, root: Path) -> list[str]:
    """The local files that DuckDB reads for a name; they go with its database.

    Numbers that came as text (NUMERIC) have the types that the columns of a text file would have.

    Raises:
        DataError: the table is not there, or cannot be read.
    """
    place = f"{where}.path"
    try:
        held = table_files(path, root, _folder(con) / "brought")
    except DataError as error:
        raise DataError(f"{place}: {error}") from None
    if not held.numbers:
        return [str(file) for file in held.files]
    (file,) = map(str, held.files)
    rows = f"read_parquet({literal(file)}, hive_partitioning = false)"
    run(con, f"CREATE OR REPLACE TABLE {AS_WRITTEN} AS SELECT * FROM {rows}", place)
    names = [row[0] for row in run(con, f"DESCRIBE {AS_WRITTEN}", place).fetchall()]
    types = column_types(con, place, set(names) - held.numbers)
    new = f"{file.removesuffix('.parquet')}-typed.parquet"
    run(con, f"COPY (SELECT * FROM {typed(types)}) TO {literal(new)} (FORMAT parquet)", place)
    run(con, f"DROP TABLE {AS_WRITTEN}", place)
    return [new]


def _folder(con: Connection) -> Path:
    """Where the connection's database lies: what is brought there is gone when it is."""
    row = con.execute("SELECT path FROM duckdb_databases() WHERE database_name = 'build'")
    return Path(str((row.fetchone() or ("",))[0])).parent
