"""How fast an engine answers at present, and so what can be answered by its deadline.

Beyond its capacity a server can answer some requests in time or all of them too late. A request
that would come to its turn too late is refused when it arrives, so that the engine's time goes to
those that somebody still waits for.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from promptrank.serve.refused import refuse

_WEIGHT = 0.1  # of the newest request in what a row takes
_MARGIN = 1.25  # what is said to take so long may take so much longer


class EnginePace:
    """Of one engine, whose requests are answered about in the order of their arrival.

    A request counts by its rows, candidates and events: they say better than its bytes how many
    tokens it has, as a request may bring ids alone.

    Attributes:
        ahead: rows of requests that have come and have no answer yet.
        seconds: that a row took lately; None before the first answer.
        cpu: seconds of the processor that a row took lately in the thread that ranked it, which
            says what it would hold up there however busy the machine is; None before the first.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.ahead = 0
        self.seconds: float | None = None
        self.cpu: float | None = None
        self._clock = clock
        self._last = -math.inf  # when the last answer was there

    def check(self, rows: int, left: float) -> None:
        """Hold a request against what is ahead of it.

        Args:
            rows: of the request.
            left: seconds to its deadline.

        Raises:
            Refused: (429) it would not be answered in time. With nothing ahead of it none is.
        """
        if self.seconds is None or not self.ahead:
            return
        needed = (self.ahead + rows) * self.seconds * _MARGIN
        if needed > left:
            wait = max(1, math.ceil(needed - left))
            raise refuse(
                429,
                "busy",
                f"what is ahead of it takes longer than the {1000 * left:.0f} ms to its deadline; "
                f"try again in {wait} s, or give it longer",
                {"Retry-After": str(min(wait, 60))},
            )

    @contextmanager
    def under_way(self, rows: int) -> Iterator[None]:
        """Count a request while it is being answered, and learn from how long it took."""
        self.ahead += rows
        begun = self._clock()
        try:
            yield
        except BaseException:
            # It may have been given up early, so it says at least how slow things are.
            self._learn(self._took(begun, rows), slower=True)
            raise
        else:
            self._learn(self._took(begun, rows))
            self._last = self._clock()
        finally:
            self.ahead -= rows

    def spent(self, rows: int, seconds: float) -> None:
        """So many seconds of the processor went into a request; from any thread."""
        cpu = seconds / max(1, rows)
        self.cpu = cpu if self.cpu is None else self.cpu + _WEIGHT * (cpu - self.cpu)

    def _took(self, begun: float, rows: int) -> float:
        # Several are answered at a time: each took what has passed since the one before it.
        return (self._clock() - max(begun, self._last)) / max(1, rows)

    def _learn(self, took: float, slower: bool = False) -> None:
        if self.seconds is None:
            self.seconds = None if slower else took
        elif not slower or took > self.seconds:
            self.seconds += _WEIGHT * (took - self.seconds)
