"""SIGTERM and SIGHUP as ordinary ends: what was begun is cleared away, and the exit code says so.

By themselves they end Python between two instructions, and temporary folders stay.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_NAMES = ("SIGTERM", "SIGHUP")


class Stopped(SystemExit):
    """A signal asked for the end; the exit code is the shell's for it, 128 and its number."""

    def __init__(self, number: int) -> None:
        self.name, self.status = signal.Signals(number).name, 128 + number
        super().__init__(self.status)


_stopped: list[Stopped] = []


def end_by_signals() -> None:
    """From now on these signals raise `Stopped`; a second one ends the process at once.

    What was told to ignore them (``nohup``) goes on ignoring them.
    """
    for name in _NAMES:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def stopped() -> Stopped | None:
    """The signal that came; what it raised, a library may have turned into an error of its own."""
    return _stopped[0] if _stopped else None


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    _stopped.append(Stopped(number))
    raise _stopped[0]


@contextmanager
def first_ctrl_c(say: Callable[[str], None], first: str) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first one only asks, and a second one stops at once.

    Args:
        first: what is said at the first one.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield lambda: False  # somebody else's, or told to ignore it
        return
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)
        say(first)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
