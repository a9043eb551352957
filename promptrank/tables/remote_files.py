"""URLs of a task file: read by DuckDB itself where it can, else fetched first."""

import os

import duckdb

from promptrank.basics.sql import Connection, explain
from promptrank.errors import DataError
from promptrank.tables.hub_datasets import hub_dataset, hub_files, hub_rows


def remote_files(con: Connection, where: str, path: str) -> list[str]:
    """What DuckDB reads for a URL: the URL as it is, with httpfs, asked for only here.

    A whole data set of the Hugging Face hub, and without httpfs its files, are fetched.

    Raises:
        DataError: ``PROMPTRANK_OFFLINE`` is set, or it cannot be had.
    """
    if os.environ.get("PROMPTRANK_OFFLINE", "0") not in ("", "0"):
        raise DataError(
            f"{where}.path: {path} is a URL, and PROMPTRANK_OFFLINE is set; download the file and "
            "give its local path"
        )
    if (named := hub_dataset(where, path)) is not None:
        return hub_rows(where, named)
    error = load_httpfs(con)
    if error is None:
        return [path]
    if path.startswith("hf://"):
        return hub_files(where, path)
    raise DataError(
        f"{where}.path: {path} needs DuckDB's httpfs extension, which is not installed and could "
        f"not be fetched ({explain(error)[:160]}); download the file and give its local path"
    ) from error


def load_httpfs(con: Connection) -> duckdb.Error | None:
    """DuckDB's extension for URLs, installed where it is not; or why it cannot be had."""
    try:
        con.execute("LOAD httpfs")
    except duckdb.Error:
        try:
            con.execute("INSTALL httpfs; LOAD httpfs")
        except duckdb.Error as error:
            return error
    return None
