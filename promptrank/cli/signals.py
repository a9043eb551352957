"""SIGTERM and SIGHUP as ordinary ends: what was begun is cleared away, and the exit code says so.

By themselves they end Python between two instructions, and temporary folders stay.
"""

import signal
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
