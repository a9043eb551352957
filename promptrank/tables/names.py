"""Names of ours that stand beside a table's own columns, and that no table of a task can have.

In ``pr.*`` all columns are ours, and a table's columns lie within structs (``ctx``). Only while
rows are read, both stand side by side; ours then begin with a word that `load` refuses in tables.
Snapshots tell their own two columns by place.
"""

from collections.abc import Iterable

from promptrank.basics.sql import ident
from promptrank.errors import DataError

OURS = "promptrank:"
FILE = OURS + "file"
"""Column of the rows that says which entry of ``path`` a row came from."""


def ours(name: str) -> str:
    """SQL: the quoted name of a column of ours beside a table's own."""
    return ident(OURS + name)


def refuse_ours(columns: Iterable[str], where: str) -> None:
    """DataError where a table has a column whose name is kept for us; case does not matter."""
    for name in columns:
        if name.casefold().startswith(OURS):
            raise DataError(
                f"{where}: a column is called {name!r}; names that begin with {OURS!r} are kept "
                "for promptrank: rename the column"
            )
