"""Addresses of tables in databases: ``postgresql://user@host/db#schema.table``."""

from urllib.parse import unquote

from promptrank.basics.addresses import secret_in
from promptrank.errors import InputError


def table_name(name: str, *, example: str) -> tuple[str, list[str]]:
    """The address of a database, and the table that stands behind its ``#``.

    Raises:
        InputError: it holds a password, or names no table.
    """
    if wrong := secret_in(name):
        raise InputError(wrong)
    database, _, table = name.partition("#")
    parts = [unquote(part) for part in table.split(".")]
    if not all(parts) or len(parts) > 2 or "\0" in table:
        raise InputError(f"{database}: name a table behind it, such as {example}")
    return database, parts
