"""What a damaged line of a request file takes with it, and what is then not made up."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from promptrank.errors import DataError
from promptrank.requests.sampling import request_ids
from promptrank.scores.read import read_scores
from support.data import make_task, read, write_rows

HEAD: dict[str, Any] = {"request_id": "1", "query": "red shoes", "split": "test"}
ROWS: list[dict[str, Any]] = [
    {"request_id": "0", "query": "hat", "item_id": "a", "item": {"title": "Hat"}},
    HEAD | {"item_id": "a", "item": {"title": "Red shoe"}},
    {"request_id": "1", "item_id": "b", "item": {"title": "Blue lamp"}},
    {"request_id": "2", "query": "lamp", "item_id": "b", "item": {"title": "Blue lamp"}},
]
LINES = [json.dumps(row).encode() for row in ROWS]


def _file(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def _seen(path: Path, **options: Any) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Request -> its query and how many candidates were lost; reasons of the errors."""
    requests, errors = read(path, **options)
    found = {
        r.request_id: ((r.subject.query or {}).get("text", ""), r.meta.get("lost", 0))
        for r in requests
    }
    assert all(
        bool(lost) == bool(r.meta.get("partial"))
        for r, (_, lost) in zip(requests, found.values(), strict=True)
    )
    return found, sorted(e.reason for e in errors)


def test_a_byte_order_mark_changes_nothing(tmp_path: Path) -> None:
    plain = read(_file(tmp_path / "r.jsonl", LINES))
    assert not plain[1]
    marked = _file(tmp_path / "m.jsonl", [b"\xef\xbb\xbf" + LINES[0], *LINES[1:]])
    assert read(marked) == plain
    assert request_ids(marked) == request_ids(tmp_path / "r.jsonl")


@pytest.mark.parametrize(
    ("line", "others"),
    [
        # The line says whose it was: nobody else is concerned.
        (LINES[1][:60], {"0": ("hat", 0), "2": ("lamp", 0)}),
        # It does not, so each neighbour may have lost a candidate.
        (LINES[1][:5], {"0": ("hat", 1), "2": ("lamp", 0)}),
        (LINES[1][40:], {"0": ("hat", 1), "2": ("lamp", 0)}),
        (b"\0" * 40, {"0": ("hat", 1), "2": ("lamp", 0)}),
        (LINES[1].replace(b"red", b"r\xff"), {"0": ("hat", 0), "2": ("lamp", 0)}),
    ],
)
def test_a_torn_first_line_ends_its_request(
    tmp_path: Path, line: bytes, others: dict[str, tuple[str, int]]
) -> None:
    path = _file(tmp_path / "r.jsonl", [LINES[0], line, *LINES[2:]])
    assert _seen(path) == (others, ["bad_row", "torn_request"])
    # It is told whatever part is asked for, since the part was lost too.
    assert _seen(path, splits={"valid"}) == ({}, ["bad_row", "torn_request"])


def test_columns_that_later_rows_repeat_do_not_hide_a_lost_query(tmp_path: Path) -> None:
    rows = [ROWS[1], ROWS[2] | {"split": "test"}]
    torn = json.dumps(rows[0]).encode()[:60]
    path = _file(tmp_path / "r.jsonl", [torn, json.dumps(rows[1]).encode()])
    assert _seen(path) == ({}, ["bad_row", "torn_request"])
    whole = json.dumps(rows[1] | {"query": "red shoes"}).encode()
    assert _seen(_file(path, [torn, whole])) == ({"1": ("red shoes", 1)}, ["bad_row"])


def test_a_torn_line_among_the_rows_makes_a_request_partial(tmp_path: Path) -> None:
    path = _file(tmp_path / "r.jsonl", [*LINES[:2], LINES[2][:30], LINES[2], LINES[3], b'{"re'])
    wanted = {"0": ("hat", 0), "1": ("red shoes", 1), "2": ("lamp", 1)}
    assert _seen(path) == (wanted, ["bad_row", "bad_row"])


def test_lines_that_never_were_rows_concern_nobody(tmp_path: Path) -> None:
    path = _file(tmp_path / "r.jsonl", [*LINES[:2], b"# a comment", b"[1]", *LINES[2:]])
    assert _seen(path)[0] == {"0": ("hat", 0), "1": ("red shoes", 0), "2": ("lamp", 0)}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_first_row_without_a_request_id(tmp_path: Path, suffix: str) -> None:
    rows = [ROWS[0], ROWS[1] | {"request_id": None}, *ROWS[2:]]
    path = tmp_path / f"r.{suffix}"
    if suffix == "parquet":
        write_rows(path, rows)
    else:
        _file(path, [json.dumps(row).encode() for row in rows])
    wanted = {"0": ("hat", 0), "2": ("lamp", 0)}
    assert _seen(path) == (wanted, ["null_key", "torn_request"])


def test_where_parts_of_a_file_meet(tmp_path: Path) -> None:
    """The reader holds 2,048 rows at a time; a line may be lost between two of these parts."""
    many = [json.dumps(ROWS[0] | {"request_id": f"n{i}"}).encode() for i in range(2048)]
    path = _file(tmp_path / "r.jsonl", [*many, LINES[1][40:], *LINES[2:]])
    found, reasons = _seen(path)
    assert (len(found), found["n2046"], found["n2047"]) == (2049, ("hat", 0), ("hat", 1))
    assert ("1" in found, reasons) == (False, ["bad_row", "torn_request"])


@pytest.mark.long
@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 3), st.integers(1, 200), st.booleans())
def test_wherever_a_line_is_cut_no_query_is_lost_in_silence(
    tmp_path_factory: pytest.TempPathFactory, at: int, size: int, front: bool
) -> None:
    line = LINES[at]
    cut = line[size:] if front else line[:-size]
    assume(cut.strip())
    path = tmp_path_factory.mktemp("torn") / "r.jsonl"
    found, _ = _seen(_file(path, [*LINES[:at], cut, *LINES[at + 1 :]]))
    for name, (query, lost) in found.items():
        assert query == {"0": "hat", "1": "red shoes", "2": "lamp"}[name]
        if name == "1" and at in (1, 2):
            assert lost == 1


def test_scores_files_with_a_mark_and_with_numbers_as_ids(tmp_path: Path) -> None:
    rows = [
        {"request_id": 7, "candidate_id": "2024-05-01", "score": 1},
        {"request_id": "B8ACD569-1B2C-4E47-8245-CB3AB4E4CEDE", "candidate_id": 8, "score": 0.5},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path = tmp_path / "s.jsonl"
    path.write_text(text, encoding="utf-8-sig")
    table = read_scores(path, make_task(), "t").table
    assert table.column("request_id").to_pylist() == ["7", rows[1]["request_id"]]
    assert table.column("candidate_id").to_pylist() == ["2024-05-01", "8"]
    path.write_text(text.replace("7,", "7.5,"), encoding="utf-8")
    with pytest.raises(DataError, match="line 1: request_id: expected text, got float"):
        read_scores(path, make_task(), "t")
