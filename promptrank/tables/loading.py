"""The tables of a task as DuckDB relations: files, places elsewhere and queries, each checked.

A table of the task keeps its name (queries of the task see it so); the rows to rank from, the
outcomes and the events are ``src.rows``, ``src.outcomes`` and ``src.events``.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from promptrank.basics.door import is_remote, lock, workspace
from promptrank.basics.hints import near
from promptrank.basics.paths import expanded
from promptrank.basics.scratch import scratch
from promptrank.basics.sql import Connection, columns, ident, literal, run
from promptrank.errors import DataError
from promptrank.places.table_files import is_elsewhere
from promptrank.schema.data_tables import Source
from promptrank.schema.task import Task
from promptrank.tables.brought_tables import brought
from promptrank.tables.iso_times import refuse_odd_times
from promptrank.tables.names import FILE, refuse_ours
from promptrank.tables.reading import table_rows
from promptrank.tables.remote_files import remote_files
from promptrank.tables.statements import Query, expression, query
from promptrank.tables.text_columns import AS_WRITTEN

_KINDS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}


@contextmanager
def database(
    root: Path, *, beside: Path | None = None, threads: int | None = None, memory: str = "1GB"
) -> Iterator[tuple[Connection, Path]]:
    """A throw-away DuckDB database on disk, and its folder.

    It spills to disk beyond ``memory``. `load` locks it: from then on it reads the files that the
    task names and no other (see `promptrank.basics.door`).

    Raises:
        DataError: a folder whose name is not UTF-8.
    """
    if not _has_utf8_name(root.resolve()):
        raise DataError(
            f"{root.resolve()}: the folder's name is not UTF-8, and DuckDB reads no other; "
            "rename it"
        )
    if beside is not None and ("?" in str(beside.resolve()) or not _has_utf8_name(beside)):
        beside = None  # DuckDB takes what follows a question mark for options
    with (
        scratch(beside) as folder,
        workspace(folder, search=root, threads=threads, memory=memory) as con,
    ):
        con.execute("CREATE SCHEMA src; CREATE SCHEMA pr")
        yield con, folder


def sources(task: Task) -> dict[str, tuple[str, Source]]:
    """Place in the task file -> (relation name, source) of everything that is read."""
    sources: dict[str, tuple[str, Source]] = {
        f"tables.{name}": (ident(name), table) for name, table in task.tables.items()
    }
    sources[task.form] = ("src.rows", task.source)
    if task.outcomes is not None:
        sources["outcomes"] = ("src.outcomes", task.outcomes)
    if task.history is not None and task.history.events is not None:
        sources["history.events"] = ("src.events", task.history.events)
    return sources


def load(
    con: Connection, task: Task, root: Path, only: set[str] | None = None
) -> dict[str, dict[str, str]]:
    """Create every relation of the task; returns its columns by place in the task file.

    Before the first one is created the database is locked to the files that the task names.

    Args:
        only: places to load (``tables.items``); all where left out.

    Raises:
        DataError: one line for each source that cannot be read.
    """
    texts = _id_columns(task)
    by_path = task.split is not None and task.split.by == "file" and not task.split.column
    waiting = {k: v for k, v in sources(task).items() if only is None or k in only}
    loaded: dict[str, dict[str, str]] = {}
    urls: dict[str, list[str]] = {}
    named = {k: _named(con, k, source, root, task, urls) for k, (_, source) in waiting.items()}
    lock(con, (file for read in named.values() if isinstance(read, Query) for file in read.files))
    while True:
        # A query may use a table that stands below it: go round while that gets us further.
        failed: dict[str, str] = {}
        for where, (relation, source) in waiting.items():
            try:
                query_or_files, ids = named[where], texts.get(where, set())
                if isinstance(query_or_files, DataError):
                    raise query_or_files
                if by_path and where == task.form:
                    query_or_files = _by_path(con, where, source, root, ids, urls)
                loaded[where] = _create(con, where, relation, source, query_or_files, ids)
            except DataError as error:
                failed[where] = str(error)
        if not failed:
            refuse_odd_times(con, task, {k: r for k, (r, _) in sources(task).items()}, loaded)
            return loaded
        if len(failed) == len(waiting):
            raise DataError("\n".join(failed.values()))
        waiting = {where: waiting[where] for where in failed}


def _named(
    con: Connection,
    where: str,
    source: Source,
    root: Path,
    task: Task,
    urls: dict[str, list[str]],
) -> Query | DataError:
    """The files that a source may read, with its query; or what is wrong with it.

    Args:
        urls: is told what DuckDB reads for each name that is none of local files.
    """
    try:
        if source.sql is not None:
            return query(source.sql, f"{where}.sql", task.tables, root)
        given = [source.path] if isinstance(source.path, str) else list(source.path or ())
        if not given:
            raise DataError(f"{where}.path: the list of files is empty")
        files: list[str] = []
        for path in given:
            if path not in urls and is_elsewhere(path, root):
                urls[path] = brought(con, where, path, root)
            elif path not in urls and is_remote(path):
                urls[path] = remote_files(con, where, path)
            files += urls[path] if path in urls else _local(where, path, root)
        return Query("", tuple(files))
    except DataError as error:
        return error


def _create(
    con: Connection,
    where: str,
    relation: str,
    source: Source,
    named: Query,
    ids: set[str],
) -> dict[str, str]:
    """Create a relation from a query, or from files."""
    place = f"{where}.path" if source.sql is None else f"{where}.sql"
    rows, kind = (named.text, "sql") if named.text else _scan(con, where, named.files, ids)
    if source.columns:
        # DuckDB knows no case: `Stars` replaces `stars`, and would else become `Stars_1`.
        made = {name.casefold() for name in source.columns}
        taken = [ident(c) for c in columns(con, rows, place) if c.casefold() in made]
        chosen = [f"* EXCLUDE ({', '.join(taken)})" if taken else "*"]
        for name, text in source.columns.items():
            value = expression(text, f"{where}.columns.{name}")
            run(con, f"DESCRIBE SELECT {value} FROM {rows}", f"{where}.columns.{name}")
            chosen.append(f"{value} AS {ident(name)}")
        rows = f"(SELECT {', '.join(chosen)} FROM {rows})"
    # Parquet is cheap to read again; text files and queries are read once.
    what = "VIEW" if kind == "parquet" else "TABLE"
    run(con, f"CREATE OR REPLACE {what} {relation} AS SELECT * FROM {rows}", place)
    run(con, f"DROP TABLE IF EXISTS {AS_WRITTEN}", place)
    kinds = columns(con, relation, place)
    by_path = source.sql is None and bool(named.text)
    refuse_ours(set(kinds) - ({FILE} if by_path else set()), place)
    if run(con, f"SELECT 1 FROM {relation} LIMIT 1", place).fetchone() is None:
        run(con, f"DROP {what} {relation}", place)
        raise DataError(f"{place}: the table is empty ({source.path or 'query'})")
    return kinds


def _by_path(
    con: Connection,
    where: str,
    source: Source,
    root: Path,
    ids: set[str],
    urls: dict[str, list[str]],
) -> Query:
    """A query whose rows say in `FILE` which entry of ``path`` they came from."""
    entries = [source.path] if isinstance(source.path, str) else list(source.path or ())
    entry_of: dict[str, str] = {}
    for path in entries:
        for file in urls[path] if path in urls else _local(where, path, root):
            if file in entry_of:
                raise DataError(
                    f"{where}.path: {file} is read for {entry_of[file]!r} and for {path!r}, and "
                    "its rows would stand in two parts; name it once"
                )
            entry_of[file] = path
    rows, _ = _scan(con, where, list(entry_of), ids, named=True)
    # A URL may stand for several.
    whens = " ".join(
        f"WHEN {ident(FILE)} {'GLOB' if is_remote(file) else '='} {literal(file)} "
        f"THEN {literal(path)}"
        for file, path in entry_of.items()
    )
    return Query(f"(SELECT * REPLACE (CASE {whens} END AS {ident(FILE)}) FROM {rows})", ())


def _scan(
    con: Connection, where: str, files: Sequence[str], ids: set[str], *, named: bool = False
) -> tuple[str, str]:
    """What to select from, and the kind of file."""
    kinds = {_kind(where, file) for file in files}
    if len(kinds) > 1:
        raise DataError(f"{where}.path: files of one table are of one kind; found {sorted(kinds)}")
    kind = kinds.pop()
    return table_rows(con, where, list(files), kind, ids, named=named), kind


def _has_utf8_name(path: Path) -> bool:
    try:
        str(path.resolve()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(where: str, file: str) -> str:
    name = file.lower().partition("?")[0] if is_remote(file) else file.lower()
    for packed in (".gz", ".zst"):
        name = name.removesuffix(packed)
    suffix = Path(name).suffix
    if suffix not in _KINDS:
        raise DataError(
            f"{where}.path: cannot tell what kind of file {file} is; known: {', '.join(_KINDS)}"
        )
    return _KINDS[suffix]


def _local(where: str, path: str, root: Path) -> list[str]:
    full = root / expanded(path)
    if full.is_dir():
        raise DataError(
            f"{where}.path: {full} is a folder; name its files, such as {path}/*.parquet"
        )
    if full.is_file():
        return [str(full)]
    if any(sign in path for sign in "*?["):
        anchor = Path(full.anchor)
        files = sorted(str(match) for match in anchor.glob(str(full.relative_to(anchor))))
        if files:
            return files
    folder = full.parent
    if not folder.is_dir():
        raise DataError(f"{where}.path: no folder {folder}")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    raise DataError(f"{where}.path: no file {full}; {near(full.name, names)}")


def _id_columns(task: Task) -> dict[str, set[str]]:
    """Columns that hold ids, by place of their source: read from text files as text."""
    ids: dict[str, set[str]] = {f"tables.{n}": {t.key} for n, t in task.tables.items()}
    for where, ref in task.refs().items():
        source = "history.events" if where.startswith("history") else task.form
        if ref.column is not None:
            ids.setdefault(source, set()).add(ref.column)
    if task.requests is not None:
        named = [task.requests.id, task.requests.candidate.id]
        ids[task.form] |= {name for name in named if name is not None}
    if task.outcomes is not None:
        ids["outcomes"] = {*task.outcomes.key, task.outcomes.label}
    return ids
