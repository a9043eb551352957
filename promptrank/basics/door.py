"""The door to DuckDB: every connection is opened here, bounded, and locked before it runs a query.

A locked connection reads the files it was opened for and no other, writes none, loads no
extension, and its settings cannot be changed again. Python variables are never tables.
"""

import math
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from promptrank.basics.sql import Connection, literal, seconds
from promptrank.errors import DataError

_SHARE = 0.8  # of the free disk: what DuckDB may fill with its database, and with what it spills
_LOOK = 0.5
_REMOTE = ("hf://", "gcs://", "r2://", "http://", "https://")
_GLOB = "*?[{"


@contextmanager
def workspace(
    folder: Path, *, search: Path, threads: int | None = None, memory: str = "1GB"
) -> Iterator[Connection]:
    """A database on disk in ``folder``, to be locked (`lock`) before a query of the user's runs.

    Beyond ``memory`` it spills into ``folder``. A statement on this connection that takes longer
    than the bound of `seconds`, or that fills four fifths of the disk that was free, is stopped.

    Args:
        search: folder that relative paths are relative to.
    """
    room = int(shutil.disk_usage(folder).free * _SHARE)
    config: dict[str, str | bool | int | float | list[str]] = {
        **_CLOSED,
        "memory_limit": memory,
        "temp_directory": str(folder / "spill"),
        "max_temp_directory_size": f"{room} bytes",
        # Without it even a sorted result comes out of order when it is read as Arrow.
        "preserve_insertion_order": True,
        "file_search_path": str(search.resolve()),
    }
    if threads is not None:
        config["threads"] = threads
    con = duckdb.connect(str(folder / "build.duckdb"), config=config)
    try:
        limit = seconds()
        # For this connection only: a cursor that is read slowly is not one that runs away.
        milliseconds = 0 if math.isinf(limit) else max(1, round(limit * 1000))
        # A cursor has a session of its own, and takes what is global.
        con.execute("SET GLOBAL TimeZone = 'UTC'; SET TimeZone = 'UTC'")
        con.execute(f"SET SESSION max_execution_time = {milliseconds}")
        with _within(con, folder, room):
            yield con
    finally:
        con.close()


@contextmanager
def reading(*files: Path) -> Iterator[Connection]:
    """A database in memory that can read these files; it spills nothing."""
    with duckdb.connect(config={**_CLOSED, "temp_directory": ""}) as con:
        lock(con, map(str, files))
        yield con


@contextmanager
def kept(file: Path, *, memory: str) -> Iterator[Connection]:
    """A database file of ours, to be read alone; each of its cursors works in its own thread."""
    config: dict[str, str | bool | int | float | list[str]] = {
        **_CLOSED,
        "memory_limit": memory,
        "temp_directory": str(file.with_name("spill")),
        "threads": 1,
    }
    with duckdb.connect(str(file), read_only=True, config=config) as con:
        con.execute("SET GLOBAL TimeZone = 'UTC'; SET TimeZone = 'UTC'")
        lock(con, ())
        yield con


_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
}


def is_remote(path: str) -> bool:
    """Whether a path is a URL that DuckDB reads through an extension."""
    return path.startswith(_REMOTE)


def lock(con: Connection, files: Iterable[str]) -> None:
    """From here on the connection reads these files (paths, URLs, globs of URLs) and no other."""
    paths, folders = [], []
    given = list(files)
    if any(map(is_remote, given)):
        # The user's stored keys (r2:// and the like) are read now: later their folder is shut.
        con.execute("SELECT count(*) FROM duckdb_secrets()").fetchall()
    for file in given:
        sign = min((file.find(s) for s in _GLOB if s in file), default=-1)
        if is_remote(file) and sign >= 0:
            folders.append(file[: file.rfind("/", 0, sign) + 1])
        else:
            paths.append(file)
        if file.startswith("hf://"):
            # hf:// is read from the repository's page: kind, owner and name lead its address.
            address = file.removeprefix("hf://").partition("@")[0].split("/")[:3]
            folders.append(f"https://huggingface.co/{'/'.join(address)}/")
    for name, values in (("allowed_paths", paths), ("allowed_directories", folders)):
        con.execute(f"SET {name} = [{', '.join(map(literal, dict.fromkeys(values)))}]")
    con.execute("SET enable_external_access = false; SET lock_configuration = true")


@contextmanager
def _within(con: Connection, folder: Path, room: int) -> Iterator[None]:
    """Stop the statement that is running when the files in ``folder`` have outgrown ``room``."""
    done, full = threading.Event(), threading.Event()

    def watch() -> None:
        while not done.wait(_LOOK):
            if _size(folder) > room:
                full.set()
                con.interrupt()

    watcher = threading.Thread(target=watch, daemon=True, name="promptrank-disk")
    watcher.start()
    try:
        yield
    except DataError as error:
        if not full.is_set():
            raise
        raise DataError(
            f"{error}; its rows fill more than {room / 1e9:,.1f} GB, four fifths of what was free "
            f"on the disk of {folder.parent}"
        ) from None
    finally:
        done.set()
        watcher.join()


def _size(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                size += Path(place, name).stat().st_size
            except OSError:
                continue  # DuckDB removes what it has spilled
    return size
