"""From Arrow to Python: one conversion that never raises, whatever a column holds."""

import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.requests.decode import decode
from promptrank.students.field_values import number
from support.data import built, make_task, read, write_rows

_ENDLESS = 2**63 - 1

VALUES: list[tuple[pa.Array, list[Any]]] = [
    (
        pa.array([0, 2932897, None, 2**31 - 1, 1 - 2**31], pa.int32()).view(pa.date32()),
        [date(1970, 1, 1), "10000-01-01", None, "infinity", "-infinity"],
    ),
    (
        pa.array([1714550400123456789, 1714550400000000000, None], pa.timestamp("ns")),
        ["2024-05-01 08:00:00.123456789", datetime(2024, 5, 1, 8), None],
    ),
    (
        pa.array([_ENDLESS, -_ENDLESS, 253402300800500000, 5], pa.timestamp("us")),
        ["infinity", "-infinity", "10000-01-01 00:00:00.5", datetime(1970, 1, 1, 0, 0, 0, 5)],
    ),
    (pa.array([-62167219200], pa.timestamp("s")), ["0000-01-01 00:00:00"]),
    (pa.array([0], pa.timestamp("ms", tz="UTC")), [datetime(1970, 1, 1, tzinfo=UTC)]),
    (pa.array([253402300799], pa.timestamp("s", tz="+14:00")), ["9999-12-31 23:59:59+00:00"]),
    (pa.array([0], pa.timestamp("s", tz="No/Where")), [datetime(1970, 1, 1, tzinfo=UTC)]),
    (
        pa.array([86_400_000_000, 5], pa.int64()).view(pa.time64("us")),
        ["24:00:00", time(0, 0, 0, 5)],
    ),
    (pa.array([1, 10**9], pa.int64()).view(pa.time64("ns")), ["00:00:00.000000001", time(0, 0, 1)]),
    (pa.array([_ENDLESS, 5], pa.duration("s")), [f"{_ENDLESS} s", timedelta(seconds=5)]),
    (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), ["1 months 2 days 3 ns"]),
    (pa.array([12.8, None, np.nan, 1e-7], pa.float32()), [12.8, None, None, 1e-7]),
    (pa.array(np.array([0.1, 2], np.float16)), [0.1, 2.0]),
    (
        pa.array([Decimal("9.90"), None, Decimal("12345678901234567890.12")], pa.decimal128(38, 2)),
        [9.9, None, Decimal("12345678901234567890.12")],
    ),
    (pa.array([Decimal(10**37), None], pa.decimal128(38, 0)), [10**37, None]),
    (pa.array([[0.1, None], None], pa.list_(pa.float32(), 2)), [[0.1, None], None]),
    (pa.array([[1], None], pa.list_view(pa.int64())), [[1], None]),
    (pa.array(["a", None], pa.string_view()), ["a", None]),
    (pa.array([b"\xff", b"a", None]).view(pa.string()), [b"\xff", "a", None]),
    (pa.array([[([1], 2)]], pa.map_(pa.list_(pa.int64()), pa.int64())), [{"[1]": 2}]),
    (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16))),
        [str(uuid.UUID(bytes=b"0" * 16)), None],
    ),
    (pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([0.1, 2], pa.float32())), [0.1, 0.1, 2.0]),
]


@pytest.mark.parametrize(("array", "wanted"), VALUES, ids=lambda x: str(getattr(x, "type", "")))
def test_values(array: pa.Array, wanted: list[Any]) -> None:
    def same(got: list[Any], values: list[Any]) -> None:
        assert got == values
        assert [type(x) for x in got] == [type(x) for x in values]

    same(decode(array), wanted)
    for i in range(len(array)):
        same(decode(array.slice(i, 1)), wanted[i : i + 1])
    nested = pa.StructArray.from_arrays([array], names=["x"])
    same([row["x"] for row in decode(nested)], wanted)


_KINDS = [pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us")]
_KINDS += [pa.time64("ns"), pa.duration("ms"), pa.duration("ns")]
_KINDS += [pa.timestamp(u, z) for u in ("s", "ms", "us", "ns") for z in (None, "Asia/Tokyo")]


@pytest.mark.long
@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(_KINDS), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_no_moment_raises(kind: pa.DataType, numbers: list[int | None]) -> None:
    if kind.bit_width == 32:
        numbers = [None if n is None else n >> 32 for n in numbers]
    array = pa.array(numbers, pa.int32() if kind.bit_width == 32 else pa.int64()).view(kind)
    got = decode(array)
    assert [x is None for x in got] == [n is None for n in numbers]
    # A value alone is what it is among others.
    assert [decode(array.slice(i, 1))[0] for i in range(len(array))] == got


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(width=32, allow_nan=False))
def test_the_shortest_decimal_that_reads_back(x: float) -> None:
    (got,) = decode(pa.array([x], pa.float32()))
    assert np.float32(got) == np.float32(x)
    # Digits, not characters: 1000000000000000.0 is shorter than 999999986991104.0.
    assert _digits(got) <= _digits(x)


def _digits(x: float) -> int:
    mantissa, _, _ = repr(x).lstrip("-").partition("e")
    return len(mantissa.replace(".", "").strip("0"))


@pytest.mark.long
def test_odd_times_of_unused_columns_change_nothing(tmp_path: Path) -> None:
    query = (
        "SELECT 'a' AS item_id, 'A' AS title, 'infinity'::TIMESTAMP AS u, 'infinity'::TIMESTAMP_S "
        "AS s, '-infinity'::DATE AS d, '24:00:00'::TIME AS t, INTERVAL 1 MONTH AS i, "
        "uuid() AS id, '\\xFF'::BLOB AS b, 'caf\\xC3\\xA9'::BLOB AS cafe, ['\\xFF'::BLOB] AS bs, "
        "{'i': INTERVAL 1 DAY, 's': 'infinity'::TIMESTAMP_S} AS box, 5::UHUGEINT AS wide, "
        "'\"x\"'::JSON AS quoted, 'x'::ENUM('x') AS word, '12:00:00+02'::TIMETZ AS zoned"
    )
    row = {"member_id": "a", "item_id": "a", "time": 1, "rating": 5}
    write_rows(tmp_path / "ratings.parquet", [row])
    task = make_task(
        tables={"items": {"sql": query, "key": "item_id"}},
        ratings={
            "path": "ratings.parquet",
            "member": {"table": "items", "column": "member_id"},
            "item": "items",
            "time": "time",
            "label": "'like'",
        },
    )
    for suffix in ("parquet", "jsonl"):
        (request,) = built(task, tmp_path, out=tmp_path / f"o.{suffix}").values()
        fields = request.candidates[0].item.fields
        assert (fields["u"], fields["s"], fields["d"]) == ("infinity", "infinity", "-infinity")
        assert (fields["t"], fields["i"]) == ("24:00:00", "1 month")
        assert (fields["b"], fields["cafe"], fields["quoted"]) == ("\\xFF", "café", "x")
        assert (fields["box"]["i"], fields["wide"], fields["word"]) == ("1 day", "5", "x")
        assert fields["zoned"] == "12:00:00+02"
        member = request.subject.member
        assert member is not None
        assert (member["u"], member["box"]["s"]) == ("infinity", "infinity")


def test_an_infinite_time_is_no_time(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": "a"}])
    duckdb.sql(
        "COPY (SELECT 'm' AS member_id, 'a' AS item_id, 5 AS rating, t::TIMESTAMP AS time FROM "
        f"(VALUES ('infinity'), ('2024-01-01')) v(t)) TO '{tmp_path / 'ratings.parquet'}'"
    )
    (request,) = built(make_task(), tmp_path).values()
    assert (request.time, len(request.candidates)) == (1704067200.0, 1)
    assert "a row has no time" in (tmp_path / "out.errors.jsonl").read_text(encoding="utf-8")


def test_request_files_of_warehouses(tmp_path: Path) -> None:
    item = pa.StructArray.from_arrays(
        [
            pa.array([Decimal("7"), None], pa.decimal128(38, 0)),
            pa.array([12.8, 0.1], pa.float32()),
            pa.array([_ENDLESS, 1], pa.timestamp("ns")),
        ],
        names=["n", "f", "t"],
    )
    table = pa.table(
        {
            "request_id": ["r", "r"],
            "item_id": ["a", "b"],
            "time": pa.array([Decimal(5), None], pa.decimal128(38, 0)),
            "position": pa.array([Decimal(1), Decimal(2)], pa.decimal128(38, 0)),
            "weight": pa.array([Decimal("0.5"), None], pa.decimal128(20, 10)),
            "item": item,
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    ((request,), errors) = read(tmp_path / "r.parquet")
    assert not errors
    assert (request.time, [c.position for c in request.candidates]) == (5.0, [1, 2])
    assert [c.weight for c in request.candidates] == [0.5, None]
    first, second = (c.item.fields for c in request.candidates)
    assert first == {"n": 7, "f": 12.8, "t": "infinity"}
    assert second == {"n": None, "f": 0.1, "t": "1970-01-01 00:00:00.000000001"}


def test_a_number_too_large_for_a_feature_is_none() -> None:
    assert (number(10**400), number(Decimal("0.5")), number(True)) == (None, 0.5, 1.0)
