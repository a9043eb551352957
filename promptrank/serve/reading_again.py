"""Tables that are read again when the server gets SIGHUP, while it goes on with the old ones."""

import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from promptrank.basics.telling import Say
from promptrank.errors import InputError

if TYPE_CHECKING:
    from promptrank.tables.look_up import LookUp

_PATIENCE = 5.0
"""Seconds for which the end of a server waits for a reading that it stops."""


@contextmanager
def on_hangup(tables: "Mapping[str, LookUp]", say: Say) -> Iterator[None]:
    """Inside, SIGHUP reads all of ``tables`` again, in a thread.

    Where a task's tables cannot be read any more, it is said, and the old ones stay. The end stops
    what is being read.

    Args:
        tables: by task; it may be filled later.
    """
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    asked, ended = threading.Event(), threading.Event()

    def read() -> None:
        while True:
            asked.wait()
            asked.clear()
            if ended.is_set():
                return
            for name, each in list(tables.items()):
                if ended.is_set():
                    return
                read_again(name, each, say)

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = signal.signal(hangup, ask)
    reader = threading.Thread(target=read, name="promptrank-tables", daemon=True)
    reader.start()
    try:
        yield
    finally:
        signal.signal(hangup, before)
        ended.set()
        asked.set()
        end = time.monotonic() + _PATIENCE
        # A reading that the process ends in would abort it; it stops at its next statement.
        while reader.is_alive() and time.monotonic() < end:
            for each in list(tables.values()):
                each.stop_reading()
            reader.join(0.02)


def read_again(name: str, tables: "LookUp", say: Say) -> None:
    """Read a task's tables again, and say how it went."""
    began = time.monotonic()
    try:
        tables.read_again()
    except Exception as error:  # whatever it is, the next SIGHUP may find them well
        why = str(error) if isinstance(error, InputError) else traceback.format_exc()
        say(f"{name}: the tables were not read again, those of before stay: {why}")
    else:
        say(f"{name}: tables read again in {time.monotonic() - began:.1f} s")
