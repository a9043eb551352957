"""SQL that a task file brings, read by DuckDB's own parser before it stands in a statement of ours.

``sql:`` is one SELECT over the task's tables, and over files below its data folder that it names
as plain text. Every other text is one expression over the columns of a row. What comes back is
spliced as it is: in brackets, on lines of its own, so that a comment ends where the text ends.
"""

import json
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

from promptrank.basics.door import is_remote, reading
from promptrank.basics.hints import near
from promptrank.basics.sql import explain, literal
from promptrank.errors import DataError

_MAX_CHARACTERS = 100_000
# The parser's time grows with the square of what stands open.
_MAX_DEPTH = 200

_READERS = {
    **dict.fromkeys(("read_csv", "read_csv_auto"), "csv, tsv, txt"),
    **dict.fromkeys(("read_parquet", "parquet_scan"), "parquet, pq"),
    **dict.fromkeys(
        ("read_json", "read_json_auto", "read_ndjson", "read_ndjson_auto"), "json, jsonl, ndjson"
    ),
}
_SERIES = {"range", "generate_series", "unnest", "json_each", "json_tree", "repeat"}
# What tells of the database, its settings and its session, waits, or keeps values between calls.
_NO_FUNCTION = re.compile(
    r"(pg|duckdb|pragma|inet|has|obj|col|shobj|read)_.*|parquet_.*|(cur|next|set)val|setseed"
    r"|current_(setting|query|query_id|transaction_id|connection_id|schemas?|catalog|database"
    r"|user|role)|(session_)?user|getenv|getvariable|sleep_ms|write_log|in_search_path"
    r"|txid_current|which_secret|query(_table)?|glob|sniff_csv|stats|get_block_size"
)
_A_FUNCTION = {"pg_typeof"}
_SYSTEM = re.compile(r"(duckdb|pragma|pg|sqlite)_.*")
_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_CLAUSES = ("where_clause", "having", "qualify", "sample", "group_expressions", "modifiers")
_FILE = re.compile(r"\.(parquet|pq|csv|tsv|txt|json|jsonl|ndjson)(\.gz|\.zst)?$", re.IGNORECASE)
_QUOTED = re.compile(rb"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_TOKEN = re.compile(
    r"[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$"
    r"|--[^\n]*|/\*.*?\*/|;|.",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Query:
    """A checked ``sql:``.

    Attributes:
        text: the query in brackets, its files by their full paths.
        files: those files.
    """

    text: str
    files: tuple[str, ...]


def expression(text: str, where: str) -> str:
    """The text in brackets, if it is one expression over the columns of a row.

    Raises:
        DataError: it is anything else; the message begins with ``where``.
    """
    # Bare, it must not close a bracket that it has not opened; in brackets, be one value.
    for statement in (f"SELECT\n{text}\n", f"SELECT (\n{text}\n)"):
        tree = _one_select(statement, where, "one expression over a row's columns")
        node = tree["node"]
        alone = (
            node["type"] == "SELECT_NODE"
            and len(node["select_list"]) == 1
            and not node["select_list"][0]["alias"]
            and node["from_table"]["type"] == "EMPTY"
            and not node["cte_map"]["map"]
            and not any(node[clause] for clause in _CLAUSES)
        )
        if not alone:
            raise DataError(f"{where}: expected one expression over a row's columns")
        for inner in _walk(tree):
            kind = inner.get("class")
            if kind == "SUBQUERY":
                raise DataError(
                    f"{where}: an expression sees one row and selects nothing; put the query into "
                    "a table of its own (sql:) and join it there"
                )
            if kind == "STAR" or inner.get("function_name") in ("unnest", "regexp_split_to_table"):
                raise DataError(f"{where}: an expression is one value, so it has no * and unnest()")
            _check_node(inner, where)
    return f"(\n{text}\n)"


def query(text: str, where: str, tables: Collection[str], root: Path) -> Query:
    """The text as one SELECT over ``tables`` and over files below ``root``.

    A semicolon and comments may follow it.

    Raises:
        DataError: it is more than one statement, or none, or it reads something else.
    """
    tree = _one_select(text, where, "one SELECT")
    raw = _without_end(text, where).encode()
    known = {name.lower() for name in tables}
    made = {name.lower() for node in _walk(tree) for name in _made_here(node)}
    files: list[str] = []
    edits: list[tuple[int, int, str]] = []
    for node in _walk(tree):
        _check_node(node, where)
        if node.get("type") == "TABLE_FUNCTION":
            given, names = _named_files(node["function"], where)
            if names:
                matches = [file for name in names for file in _files(name, where, root)]
                start = given["query_location"]
                edits.append((start, start + given["query_location_length"], _list(matches)))
                files += matches
        elif node.get("type") == "BASE_TABLE":
            name = _table(node, where)
            if name.lower() in known or (name.lower() in made and not _SYSTEM.fullmatch(name)):
                continue
            if not _FILE.search(name) and not is_remote(name):
                raise DataError(f"{where}: table {name} does not exist; {near(name, tables)}")
            matches = _files(name, where, root)
            start = node["query_location"]
            quoted = _QUOTED.match(raw, start) if start < len(raw) else None
            if quoted is None:
                raise DataError(f"{where}: write the name of the file {name} in quotes")
            new = literal(matches[0]) if len(matches) == 1 else f"{_reader(name)}({_list(matches)})"
            edits.append((start, quoted.end(), new))
            files += matches
    for start, end, new in sorted(edits, reverse=True):
        raw = raw[:start] + new.encode() + raw[end:]
    return Query(f"(\n{raw.decode()}\n)", tuple(dict.fromkeys(files)))


@lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[tuple[str, ...], str]:
    """The kinds of the statements, and the one SELECT as JSON ('' where it is something else)."""
    with reading() as con:
        kinds = tuple(s.type.name for s in con.extract_statements(text))
        if kinds != ("SELECT",):
            return kinds, ""
        row = con.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
    return kinds, str(row[0]) if row is not None else ""


def _one_select(text: str, where: str, expected: str) -> Any:
    opened = depth = 0
    for sign in text:
        opened += (sign in "([{") - (sign in ")]}")
        depth = max(depth, opened)
    if len(text) > _MAX_CHARACTERS or depth > _MAX_DEPTH:
        raise DataError(
            f"{where}: SQL of at most {_MAX_CHARACTERS:,} characters and {_MAX_DEPTH} brackets "
            "within each other is read"
        )
    try:
        kinds, tree = _parsed(text)
        if len(kinds) != 1:
            what = f"{len(kinds)} statements ({', '.join(kinds)})" if kinds else "none"
            raise DataError(f"{where}: expected {expected}, found {what}")
        if not tree:
            raise DataError(f"{where}: expected {expected}, found {kinds[0]}; a query only reads")
        read = json.loads(tree)
    except duckdb.Error as error:
        raise DataError(f"{where}: {explain(error)}") from None
    except RecursionError:
        raise DataError(f"{where}: the SQL is nested too deeply; write it flatter") from None
    if read["error"]:
        raise DataError(f"{where}: {read['error_message']}")
    return read["statements"][0]


def _without_end(text: str, where: str) -> str:
    """The text before the semicolon that ends it."""
    end = next((m.start() for m in _TOKEN.finditer(text) if m[0] == ";"), len(text))
    cut = text[:end]
    if _parsed(cut) != _parsed(text):
        raise DataError(f"{where}: leave out the semicolon at the end")
    return cut


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        at = waiting.pop()
        if isinstance(at, dict):
            yield at
        waiting += at.values() if isinstance(at, dict) else at if isinstance(at, list) else ()


def _made_here(node: dict[str, Any]) -> Iterator[str]:
    """Names that a query gives to parts of itself (WITH)."""
    for entry in (node.get("cte_map") or {}).get("map", ()):
        yield entry["key"]
    if node.get("cte_name"):
        yield node["cte_name"]


def _check_node(node: dict[str, Any], where: str) -> None:
    """DataError for what neither a query nor an expression may hold."""
    kind = str(node.get("type", ""))
    if (kind.endswith("_NODE") and kind not in _NODES) or kind == "SHOW_REF":
        what = kind.removesuffix("_NODE").removesuffix("_QUERY").removesuffix("_REF")
        raise DataError(f"{where}: expected SELECTs only, found {what}; a query only reads")
    if node.get("class") == "PARAMETER":
        raise DataError(f"{where}: SQL in a task file takes no parameters (? or $x)")
    name = str(node.get("function_name", "")).lower()
    taken = name in _READERS or name in _A_FUNCTION
    if not taken and _NO_FUNCTION.fullmatch(name):
        raise DataError(
            f"{where}: {name}() is not for task files: it looks beyond the tables, waits or "
            "keeps values"
        )


def _table(node: dict[str, Any], where: str) -> str:
    *schema, name = node["qualified_name"]["path"]
    if schema:
        full = ".".join([*schema, name])
        raise DataError(
            f"{where}: {full}: name the task's own tables without a schema, and files in quotes"
        )
    return str(name)


def _named_files(function: dict[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """The argument of a reader that names its files, and those names; none for a series."""
    *schema, name = (part.lower() for part in function["qualified_name"]["path"])
    if name in _SERIES and not schema:
        return {}, []
    if name not in _READERS or schema:
        known = ", ".join(sorted({*_READERS, *_SERIES}))
        raise DataError(f"{where}: {name}() is no source of rows for a task; known: {known}")
    given = function["arguments"][0]["expression"] if function["arguments"] else {}
    values = [given]
    if given.get("function_name") == "list_value":
        values = [argument["expression"] for argument in given["arguments"]]
    plain = [v["literal"] for v in values if v.get("class") == "CONSTANT"]
    names = [text["text"] for text in plain if text["kind"] == "STRING"]
    if not names or len(names) < len(values):
        suffix = _READERS[name].partition(",")[0]
        raise DataError(
            f"{where}: {name}() takes the names of its files as plain text, such as "
            f"{name}('part.{suffix}')"
        )
    return given, names


def _files(name: str, where: str, root: Path) -> list[str]:
    """The files that a name or glob stands for; all of them below ``root``."""
    folder = root.absolute()
    # By its spelling alone: a link in the folder is the user's own, `..` is the task file's.
    full = Path(os.path.normpath(folder / name))
    declare = "declare it under tables: with path: and a key, and select from that table"
    if is_remote(name):
        raise DataError(f"{where}: {name} is not in the data folder; {declare}")
    if not _FILE.search(name):
        raise DataError(
            f"{where}: cannot tell what kind of file {name} is; known: .parquet, .pq, .csv, .tsv, "
            ".txt, .json, .jsonl, .ndjson"
        )
    if not full.is_relative_to(os.path.normpath(folder)):
        raise DataError(f"{where}: {name} lies outside the data folder {folder}; {declare}")
    if full.is_file():
        return [str(full)]
    matches = []
    if any(sign in name for sign in "*?["):
        pattern = str(full.relative_to(os.path.normpath(folder)))
        matches = sorted(str(path) for path in folder.glob(pattern) if path.is_file())
    if not matches:
        raise DataError(f"{where}: no file {full}")
    return matches


def _reader(name: str) -> str:
    suffix = _FILE.search(name)
    kind = suffix[1].lower() if suffix is not None else ""
    return next(reader for reader, kinds in _READERS.items() if kind in kinds.split(", "))


def _list(files: list[str]) -> str:
    return f"[{', '.join(map(literal, files))}]"
