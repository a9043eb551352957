"""SIGHUP: whatever a table does, the next one reads again, and the server's end does not wait."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from promptrank.basics.sql import run
from promptrank.serve.reading_again import on_hangup
from promptrank.tables.look_up import LookUp
from support.data import make_task, write_rows


class Tables:
    """Tables that say when they are read again, and do then what they are told.

    Attributes:
        begun: set when they are read.
        stopped: set when they are to stop it.
    """

    def __init__(self, does: Any, stopped: threading.Event | None = None) -> None:
        self.begun, self.stopped = threading.Event(), stopped or threading.Event()
        self._does = does

    def read_again(self) -> None:
        self.begun.set()
        self._does()

    def stop_reading(self) -> None:
        self.stopped.set()


def hang_up(tables: Tables) -> None:
    tables.begun.clear()
    os.kill(os.getpid(), signal.SIGHUP)
    assert tables.begun.wait(20)


def test_an_error_of_any_kind_is_told_and_the_next_signal_reads_again() -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    told = threading.Semaphore(0)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        told.release()

    wrong, right = Tables(full), Tables(lambda: None)
    tables: Any = {"wrong": wrong, "right": right}
    with on_hangup(tables, say):
        for _ in range(2):
            hang_up(wrong)
            assert all(told.acquire(timeout=20) for _ in tables)
    assert ["No space left" in line for line in said] == [True, False] * 2
    assert "those of before stay" in said[0] and "right: tables read again" in said[1]


def reader() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "promptrank-tables"]


def test_the_end_stops_what_is_read_and_begins_nothing_more() -> None:
    stopped = threading.Event()
    slow, after = Tables(lambda: stopped.wait(20), stopped), Tables(lambda: None)
    tables: Any = {"slow": slow, "after": after}
    with on_hangup(tables, lambda line: None):
        hang_up(slow)
    assert stopped.is_set() and not reader() and not after.begun.is_set()


def test_the_end_comes_where_nothing_stops_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptrank.serve.reading_again._PATIENCE", 0.01)
    done = threading.Event()
    stuck = Tables(lambda: done.wait(20))
    tables: Any = {"stuck": stuck}
    with on_hangup(tables, lambda line: None):
        hang_up(stuck)
    (left,) = reader()
    assert left.daemon
    done.set()
    left.join(20)


@pytest.mark.long
def test_a_reading_is_stopped_and_the_tables_of_before_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": "a"}])
    write_rows(tmp_path / "members.parquet", [{"member_id": "m"}])
    rows = [{"member_id": "m", "item_id": "a", "time": 1, "rating": 5}]
    write_rows(tmp_path / "ratings.parquet", rows)
    task = make_task(
        tables={
            "items": {"path": "items.parquet", "key": "item_id"},
            "members": {"path": "members.parquet", "key": "member_id"},
        },
        ratings={
            "path": "ratings.parquet",
            "member": "members",
            "item": "items",
            "time": "time",
            "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
            "group": {"last": 1},
        },
    )
    begun = threading.Event()

    def for_ever(con: Any, plan: Any) -> None:
        begun.set()
        run(con, "SELECT sum(a.range * b.range) FROM range(1e9::INT) a, range(1e9::INT) b", "sums")

    said: list[str] = []
    with LookUp(task, tmp_path) as look_up:
        monkeypatch.setattr("promptrank.tables.look_up_store.make_sums", for_ever)
        with on_hangup({"t": look_up}, said.append):
            os.kill(os.getpid(), signal.SIGHUP)
            assert begun.wait(20)
        assert not reader() and "not read again, those of before stay: sums:" in said[0]
        asked = {"member_id": "m", "time": 2, "candidates": [{"item_id": "a"}]}
        assert not look_up.look_up(asked).errors
