"""The journal of finished requests: what a kill leaves of it, and what it goes on with."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from promptrank.errors import ErrorRow
from promptrank.runs.journal import Journal
from promptrank.scores.columns import schema_of
from support.data import make_task

SCHEMA = schema_of(make_task())
ERROR = ErrorRow("r1", None, "data", "null", "no title")


SMALL = pa.schema([SCHEMA.field(name) for name in ("request_id", "candidate_id", "score")])
"""So few columns that a journal can be torn at each of its bytes in little time."""


def rows(name: str, scores: Iterable[float], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    """Rows of one request with nulls where no test looks."""
    given = [
        {"request_id": name, "candidate_id": f"c{place}", "score": score, "changes": []}
        for place, score in enumerate(scores)
    ]
    return pa.RecordBatch.from_pylist(given, schema=schema)


def open_journal(folder: Path, digest: str = "d1", schema: pa.Schema = SCHEMA) -> Journal:
    return Journal(folder / "scores.parquet", digest, schema)


def fill(folder: Path, schema: pa.Schema = SCHEMA) -> list[int]:
    """Three requests; the size of the journal before each, and at the end."""
    with open_journal(folder, schema=schema) as journal:
        sizes = [journal.path.stat().st_size]
        for name, scores, errors in (
            ("r1", [0.5, 0.25], [ERROR]),
            ("r2", [], [ErrorRow("r2", "c0", "engine", "too_long", "by 7 tokens")]),
            ("", [], [ErrorRow(None, None, "data", "bad_row", "line 3")]),
        ):
            journal.add(name, rows(name, scores, schema), errors)
            sizes.append(journal.path.stat().st_size)
    return sizes


def test_entries_come_back_as_they_were_added(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_journal(tmp_path) as journal:
        first, second, others = journal.entries()
        assert journal.done == {"r1", "r2"}
        assert journal.others
        assert not journal.replaced
    assert first.rows.equals(rows("r1", [0.5, 0.25]))
    assert first.errors == [
        {
            "request_id": "r1",
            "candidate_id": None,
            "stage": "data",
            "reason": "null",
            "message": "no title",
        }
    ]
    assert (second.request_id, len(second.rows), second.errors[0]["candidate_id"]) == (
        "r2",
        0,
        "c0",
    )
    assert (others.request_id, others.errors[0]["request_id"]) == ("", None)


@pytest.mark.slow
def test_a_record_torn_at_any_byte_is_dropped_and_the_run_goes_on(tmp_path: Path) -> None:
    sizes = fill(tmp_path / "whole", SMALL)
    whole = (tmp_path / "whole" / "scores.parquet.partial").read_bytes()
    assert len(whole) == sizes[-1]
    names = ["r1", "r2", ""]
    for cut in range(len(whole) + 1):
        folder = tmp_path / "torn"
        folder.mkdir()
        (folder / "scores.parquet.partial").write_bytes(whole[:cut])
        left = [name for name, end in zip(names, sizes[1:], strict=True) if end <= cut]
        with open_journal(folder, schema=SMALL) as journal:
            assert journal.done == set(left) - {""}, cut
            assert journal.others == ("" in left)
            assert journal.replaced == (cut < sizes[0])
            journal.add("r9", rows("r9", [1.0], SMALL), [])
            assert [entry.request_id for entry in journal.entries()] == [*left, "r9"], cut
        with open_journal(folder, schema=SMALL) as journal:
            assert journal.done == {*left, "r9"} - {""}
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "tail", [b"\0" * 4096, b"\xff" * 4096, b"\xff\xff\xff\xff\0\0\0\0", b'{"request_id": "r3"}\n']
)
def test_what_a_crash_leaves_behind_the_last_record_is_dropped(tmp_path: Path, tail: bytes) -> None:
    sizes = fill(tmp_path)
    path = tmp_path / "scores.parquet.partial"
    path.write_bytes(path.read_bytes() + tail)
    with open_journal(tmp_path) as journal:
        assert journal.done == {"r1", "r2"}
        assert path.stat().st_size == sizes[-1]
        journal.add("r4", rows("r4", [2.0]), [])
        assert [entry.request_id for entry in journal.entries()] == ["r1", "r2", "", "r4"]


def test_a_journal_of_another_run_starts_over_and_a_finished_one_is_gone(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_journal(tmp_path, "d2") as journal:
        assert journal.done == set()
        assert not journal.others
        assert journal.replaced
        assert list(journal.entries()) == []
        journal.finish()
    assert not journal.path.exists()
    with open_journal(tmp_path, "d2") as journal:
        assert not journal.replaced


def test_a_journal_of_other_columns_starts_over(tmp_path: Path) -> None:
    fill(tmp_path)
    with open_journal(tmp_path, schema=SMALL) as journal:
        assert journal.replaced
        assert journal.done == set()


def test_a_file_that_is_no_journal_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "scores.parquet.partial").write_text('{"digest": "d1"}\n{"request_id": "r1"}\n')
    with open_journal(tmp_path) as journal:
        assert (journal.done, journal.replaced) == (set(), True)
        journal.add("r1", rows("r1", [1.0]), [])
    with open_journal(tmp_path) as journal:
        assert journal.done == {"r1"}


def test_half_a_character_is_kept_as_an_escape(tmp_path: Path) -> None:
    """UTF-8 has no form for a lone surrogate, and a message may quote one."""
    with open_journal(tmp_path) as journal:
        error = ErrorRow("r1", "c\udc00", "prompt", "undefined", "title: 'T\ud800'")
        journal.add("r1", rows("r1", [1.0]), [error])
    with open_journal(tmp_path) as journal:
        (entry,) = journal.entries()
    assert entry.errors[0]["candidate_id"] == "c\\udc00"
    assert entry.errors[0]["message"] == "title: 'T\\ud800'"
