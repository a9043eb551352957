"""One thread that does the steps of opened engines, for a process that many threads ask.

torch's OpenMP team belongs to the thread that calls it. Where whoever waits takes the turn (as
`promptrank.runtime.opened` does by itself) a server with eight threads has eight teams, and once
there are more of their threads than cores, libgomp has them all sleep at every barrier. One thread
for all engines has one team, and the engines take steps in turn in place of sharing the cores.
"""

import threading
from typing import Any

from promptrank.runtime.opened import Opened


class Stepping:
    """The thread; it begins with the first engine that is taken in."""

    def __init__(self) -> None:
        self._due = threading.Condition()
        self._waiting = False  # something may wait for a step
        self._closed = False
        self._opened: list[Opened[Any]] = []
        self._thread = threading.Thread(target=self._run, name="steps", daemon=True)

    def take(self, opened: Opened[Any]) -> None:
        """Do the steps of this engine from now on; it may be given again."""
        with self._due:
            if opened in self._opened:
                return
            self._opened.append(opened)
            if len(self._opened) == 1:
                self._thread.start()
        opened.be_stepped(self._wake)

    def close(self) -> None:
        """End the thread; the engines are closed before. Safe to call twice."""
        with self._due:
            self._closed = True
            self._due.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _wake(self) -> None:
        with self._due:
            self._waiting = True
            self._due.notify()

    def _run(self) -> None:
        while True:
            with self._due:
                self._due.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                # Whatever comes from here on wakes it again.
                self._waiting = False
                opened = tuple(self._opened)
            while not self._closed and any([each.step() for each in opened]):
                pass
