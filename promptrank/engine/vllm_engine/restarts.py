"""When vLLM's process is started anew by itself, and what is known of it meanwhile."""

import math
import threading
import time
from collections.abc import Callable

DEATHS = 2
"""A tree (or an adapter) that the process has died of so often is not tried again."""
FREE, FREE_IN_RUNS = 4, 16
"""Deaths in a row after which it is started anew at once, by default and in a run."""
_SHORTEST, _LONGEST = 2.0, 60.0  # seconds


class Restarts:
    """Shared by whoever may restart and whoever wants to know; from any thread.

    Attributes:
        total: processes that were started in the place of dead ones.
        free: deaths in a row after which one is started anew at once.
    """

    def __init__(self, say: Callable[[str], None] = lambda _: None, free: int = FREE) -> None:
        """Take who is told of deaths, and of starts in their place.

        Args:
            free: deaths in a row after which a process is started anew at once; a run has more
                patience than a server, and ends where those are too few.
        """
        self.total, self.free = 0, free
        self._say = say
        self._lock = threading.Lock()
        self._down: set[int] = set()

    @property
    def down(self) -> bool:
        """Whether any engine has no process that answers now."""
        return bool(self._down)

    def fell(self, engine: object, why: str) -> None:
        """An engine's process has died."""
        with self._lock:
            self._down.add(id(engine))
        self._say(f"{why}; starting another")

    def started(self) -> None:
        """A process was started in the place of a dead one."""
        with self._lock:
            self.total += 1

    def answers(self, engine: object) -> None:
        """An engine answers again."""
        with self._lock:
            down = id(engine) in self._down
            self._down.discard(id(engine))
        if down:
            self._say("the vLLM process that took its place answers")


class Backoff:
    """How long to wait before the next start: not at all for a few deaths, then ever longer.

    What dies as soon as it is asked would else be started for ever, which takes a minute of all
    cores each time; and everybody who asks would wait for starts that fail.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, free: int = FREE) -> None:
        self._clock = clock
        self._free = free
        self._failures = 0
        self._until = -math.inf

    @property
    def failures(self) -> int:
        """Deaths and starts that failed since it last answered anything."""
        return self._failures

    @property
    def left(self) -> float:
        """Seconds until it may be started."""
        return max(0.0, self._until - self._clock())

    def died(self) -> None:
        """It has died after it was up."""
        self._failures += 1
        over = self._failures - self._free
        if over > 0:
            self._until = self._clock() + min(_LONGEST, _SHORTEST * 2.0 ** (over - 1))

    def failed(self) -> None:
        """It could not be started."""
        self._failures = max(self._failures, self._free)
        self.died()

    def worked(self) -> None:
        """It has answered something."""
        self._failures = 0
