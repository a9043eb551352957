"""A limit of time for engines that compute in this very process.

A forward that hangs cannot be interrupted: it is in a library's code, and Python has no means to
end a thread. So the whole process is ended, with a sentence, the stacks of all threads, and an exit
code of its own, by which whoever looks after it knows that the same command goes on.
"""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

EXIT = 75
"""Exit code of a process that was ended so (`EX_TEMPFAIL`: try again)."""
_TICKS = 20  # in which a limit is counted
_LAST = 10.0  # seconds for what is done before the end
_JOIN = 1.0  # seconds for the thread to see that nothing is watched any more


class Watchdog:
    """Entered for each step of an engine; a step that takes too long ends the process.

    Time is counted in ticks of a thread, not read off a clock: while the process is stopped (a
    suspended machine, Ctrl-Z) none pass, and a clock that jumps changes nothing.
    """

    def __init__(
        self,
        seconds: float,
        name: str,
        end: Callable[[str], None] | None = None,
        before: Callable[[str], None] | None = None,
    ) -> None:
        """Begin to watch.

        Args:
            seconds: that a step may take.
            name: of the engine, for the sentence.
            end: what is done in the place of ending the process.
            before: is told the sentence before the end, and has some seconds for what it does.
        """
        self._seconds, self._name, self._end = seconds, name, end or _end
        self._before = before
        self._step = 0  # its number; odd while it is under way
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Watch no longer; safe to call twice.

        A thread that Python's end finds alive keeps all that it knows, and libraries (DuckDB) then
        print what of theirs was never freed.
        """
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN)

    def __enter__(self) -> Self:
        self._step += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._step += 1

    def _watch(self) -> None:
        ticks, seen = 0, 0
        while not self._closed.wait(self._seconds / _TICKS):
            ticks = ticks + 1 if self._step == seen and seen % 2 else 0
            seen = self._step
            if ticks > _TICKS:
                words = (
                    f"one step of the engine {self._name} took more than {self._seconds:g} s "
                    "(--timeout)"
                )
                if self._before is not None:
                    # In a thread of its own, as a file system may hang as well.
                    last = threading.Thread(target=self._before, args=(words,), daemon=True)
                    last.start()
                    last.join(_LAST)
                self._end(f"stopped: {words}; the same command goes on where it was")
                return


def _end(words: str) -> None:
    try:
        sys.stderr.write(f"{words}\n")
        sys.stderr.flush()
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr, all_threads=True)
    finally:
        os._exit(EXIT)
