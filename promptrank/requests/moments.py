"""Dates, times and durations of Arrow as Python values, or as text where Python has none.

Python's years are 1 to 9999 and its clock ticks in microseconds. Tables know more: the year 10000,
nanoseconds, infinity, 24:00. Such a value becomes text, the way its column would print it; the
others of its column stay what they are. Nothing here raises.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

_EPOCH = datetime(1970, 1, 1)
_DAY_0 = date(1970, 1, 1).toordinal()
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_LARGEST = {32: 2**31 - 1, 64: 2**63 - 1}  # DuckDB's infinity


def moments(array: pa.Array) -> list[Any]:
    """The values of a column of dates, timestamps, times of day, durations or intervals."""
    kind = array.type
    if pt.is_date(kind) or (pt.is_timestamp(kind) and kind.unit != "ns"):
        try:
            plain: list[Any] = array.to_pylist()
            return plain
        except (ValueError, OverflowError, LookupError, pa.ArrowException):
            pass  # some value has no Python form, or the zone is not known here
    if pt.is_interval(kind):
        return [None if x is None else _interval(x.as_py()) for x in array]
    make = _maker(kind)
    bits = pa.int32() if kind.bit_width == 32 else pa.int64()
    numbers = array.view(bits).to_pylist()
    return [None if n is None else make(n) for n in numbers]


def _maker(kind: pa.DataType) -> Callable[[int], Any]:
    if pt.is_date32(kind):
        return _date
    if pt.is_date64(kind):
        return lambda n: _infinite(n, 64) or _date(n // 86_400_000)
    if pt.is_timestamp(kind):
        zone = _zone(kind.tz) if kind.tz is not None else None
        return lambda n: _timestamp(n, kind.unit, zone)
    if pt.is_time(kind):
        return lambda n: _time(n, _TICKS[kind.unit])
    return lambda n: _duration(n, kind.unit)


def _infinite(n: int, bits: int) -> str | None:
    largest = _LARGEST[bits]
    return "infinity" if n == largest else "-infinity" if n == -largest else None


def _date(n: int) -> date | str:
    try:
        return date.fromordinal(_DAY_0 + n)
    except (ValueError, OverflowError):
        return _infinite(n, 32) or _numpy(n, "D")


def _timestamp(n: int, unit: str, zone: tzinfo | None) -> datetime | str:
    """A NumPy time prints any year and any fraction; with a zone the text is in UTC."""
    endless = _infinite(n, 64)
    if endless is not None:
        return endless
    micros, below = divmod(n * 10**6, _TICKS[unit])
    if not below:
        try:
            moment = _EPOCH + timedelta(microseconds=micros)
            return moment if zone is None else moment.replace(tzinfo=UTC).astimezone(zone)
        except (ValueError, OverflowError):
            pass
    text = _numpy(n, unit).replace("T", " ")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text if zone is None else f"{text}+00:00"


def _numpy(n: int, unit: str) -> str:
    return str(np.array(n, f"datetime64[{unit}]"))


@lru_cache
def _zone(name: str) -> tzinfo:
    """A zone by its name or offset; UTC where it is not known here."""
    try:
        zone: tzinfo = pa.lib.string_to_tzinfo(name)
    except Exception:
        try:
            zone = ZoneInfo(name)
        except Exception:
            zone = UTC
    return zone


def _time(n: int, ticks: int) -> time | str:
    micros, below = divmod(n * 10**6, ticks)
    if not below and 0 <= micros < 86_400 * 10**6:
        return (_EPOCH + timedelta(microseconds=micros)).time()
    seconds, part = divmod(n, ticks)
    fraction = f".{part:0{len(str(ticks)) - 1}d}".rstrip("0") if part else ""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"


def _duration(n: int, unit: str) -> timedelta | str:
    micros, below = divmod(n * 10**6, _TICKS[unit])
    try:
        if not below:
            return timedelta(microseconds=micros)
    except OverflowError:
        pass
    return f"{n} {unit}"


def _interval(value: Any) -> str:
    """Months, days and nanoseconds, which no Python type holds together."""
    return f"{value.months} months {value.days} days {value.nanoseconds} ns"
