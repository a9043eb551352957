"""Steps that take too long end the process; clocks and pauses do not count."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from promptrank.engine.fake import FakeEngine
from promptrank.runtime.runtime import Runtime
from promptrank.runtime.watchdog import EXIT, Watchdog


def test_a_step_that_takes_too_long_is_told_once() -> None:
    told: list[str] = []
    ended = threading.Event()

    def end(words: str) -> None:
        told.append(words)
        ended.set()

    watchdog = Watchdog(0.2, "packed", end)
    with watchdog:
        assert ended.wait(20)
    assert told == [
        "stopped: one step of the engine packed took more than 0.2 s (--timeout); the same command "
        "goes on where it was"
    ]


@pytest.mark.long
def test_many_steps_may_take_longer_together(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    watchdog = Watchdog(0.1, "packed", told.append)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 1e9)
    for _ in range(60):
        with watchdog:
            time.sleep(0.005)
    time.sleep(0.2)  # and nothing is under way
    assert told == []


def test_a_runtime_has_one_for_engines_of_this_process() -> None:
    with Runtime(timeout=1000.0) as runtime:
        assert isinstance(runtime.opened("fake", FakeEngine).watched, Watchdog)
    with Runtime() as runtime:
        assert not isinstance(runtime.opened("fake", FakeEngine).watched, Watchdog)


def test_a_runtime_that_is_closed_leaves_no_thread_that_watches() -> None:
    """Python's end would find it alive, and libraries tell what it keeps from being freed."""
    before = threading.enumerate()
    with Runtime(timeout=1000.0) as runtime:
        runtime.opened("fake", FakeEngine)
        (watching,) = [thread for thread in threading.enumerate() if thread not in before]
    assert not watching.is_alive()


def test_the_process_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    code = (
        "import time; from promptrank.runtime.watchdog import Watchdog\n"
        "def hang(): time.sleep(60)\n"
        "with Watchdog(0.1, 'packed'): hang()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )
    assert done.returncode == EXIT == 75
    assert done.stderr.startswith("stopped: one step of the engine packed took more than 0.1 s")
    assert "in hang" in done.stderr and "Error" not in done.stderr
