"""Purging what people left at the workbench: kept rankings and reports, and labels."""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pyarrow as pa

from promptrank.basics.owner import owned
from promptrank.errors import DataError, InputError
from promptrank.purging.exchange import exchange, finish, make
from promptrank.purging.proof import Occurrence
from promptrank.purging.purged_subject import PurgedSubject
from promptrank.purging.removed import Removed
from promptrank.purging.tables_without import Row, row_of
from promptrank.requests.judgement_file import FOLDER
from promptrank.workbench.database import PLACE, Database

_WAIT = 10.0  # seconds for people who label


def database_of(project: Path) -> Path:
    """Where a project's workbench keeps what it keeps."""
    return project / PLACE


def label_files(project: Path) -> list[Path]:
    """The judgements of people in a project."""
    folder = project / FOLDER
    return sorted(folder.rglob("*.jsonl")) if folder.is_dir() else []


def purge_workbench(path: Path, subject: PurgedSubject, *, dry: bool) -> Removed:
    """Remove a person's rankings, and the reports that were measured with them.

    Raises:
        InputError: a server holds the database, so that its bytes cannot be given up.
    """
    removed = Removed(path)
    rankings = list(_rankings(path, subject))
    theirs = {name for _, name in rankings}
    with closing(Database(path, read_only=dry)) as database, database.reading() as db:
        db.execute("PRAGMA secure_delete = ON")
        # With rankings removed by a purge that was killed, runs still name their requests.
        runs = db.execute("SELECT run_id, request_ids, report, facts FROM runs").fetchall()
        changed = []
        for run_id, ids, report, _ in runs:
            named = json.loads(ids)
            kept = [n for n in named if n not in theirs and not subject.is_request(n)]
            theirs |= set(named) - set(kept)
            holds = report is not None and (
                len(kept) < len(named) or _stands_in(report, subject, theirs)
            )
            if len(kept) < len(named) or holds:
                changed.append((run_id, json.dumps(kept), None if holds else report, holds))
        removed.requests = set(theirs)
        removed.add("kept ranking", len(rankings))
        removed.add("report of the workbench", sum(holds for *_, holds in changed))
        if dry:
            return removed
        with database.writing() as writing:
            # Runs last: they say which requests are theirs where nothing else does.
            writing.executemany("DELETE FROM rankings WHERE key = ? AND request_id = ?", rankings)
            writing.executemany(
                "UPDATE runs SET request_ids = ?, report = ? WHERE run_id = ?",
                [(ids, report, run_id) for run_id, ids, report, _ in changed],
            )
        try:
            db.execute("VACUUM")
            (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            busy = True
        if busy:
            raise InputError(
                f"{path}: a server holds it, so what was removed is still in its bytes; stop that "
                "server, and purge again"
            )
    return removed


def workbench_occurrences(path: Path, subject: PurgedSubject) -> Iterator[Occurrence]:
    """Where a person stands in rankings that are packed into cells."""
    if any(True for _ in _rankings(path, subject)):
        yield Occurrence(path, "rankings.scored")


def _rankings(path: Path, subject: PurgedSubject) -> Iterator[tuple[str, str]]:
    """Key and request of each kept ranking of theirs, or with them as a candidate that is to go.

    Raises:
        DataError: the database is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            columns = dict(db.execute("SELECT key, columns FROM origins"))
            schemas = {
                key: pa.ipc.read_schema(pa.py_buffer(zlib.decompress(packed)))
                for key, packed in columns.items()
            }
            for key, name, scored in db.execute("SELECT key, request_id, scored FROM rankings"):
                if subject.is_request(name):
                    yield key, name
                    continue
                data = pa.py_buffer(zlib.decompress(scored))
                table = pa.Table.from_batches([pa.ipc.read_record_batch(data, schemas[key])])
                rows = [*subject.rows_of(table, ()), *subject.items_in(table)]
                if any(each.as_py() for each in rows):
                    yield key, name
    except (sqlite3.Error, zlib.error, KeyError, ValueError, OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged ({error}); move it away to start anew") from None


def _stands_in(report: str, subject: PurgedSubject, theirs: set[str]) -> bool:
    return subject.id in report or any(json.dumps(name)[1:-1] in report for name in theirs)


def purge_labels(path: Path, subject: PurgedSubject, *, dry: bool) -> Removed:
    """Remove labels of a person's requests, and what took such labels back.

    Raises:
        InputError: somebody keeps the file busy.
    """
    removed = Removed(path)
    with owned(path, "purge", wait=_WAIT):
        intent = path.with_name(f".{path.name}.purge.json")
        if not dry:
            finish(intent)
        rows = [(line, row_of(line)) for line in path.read_bytes().splitlines(keepends=True)]
        gone = {str(row["id"]) for _, row in rows if row is not None and _is_of(row, subject)}
        kept = [
            line
            for line, row in rows
            if row is None or not ({str(row.get("id")), str(row.get("undoes"))} & gone)
        ]
        removed.add("label", len(rows) - len(kept))
        if len(kept) < len(rows) and not dry:
            make(path, partial(_write, b"".join(kept)))
            exchange(intent, [path], {})
    return removed


def _write(data: bytes, place: Path) -> None:
    place.write_bytes(data)


def _is_of(row: Row, subject: PurgedSubject) -> bool:
    candidates = row.get("candidate_ids") or ()
    return "id" in row and (
        subject.is_theirs(row, ()) or (bool(subject.items) and subject.id in candidates)
    )
