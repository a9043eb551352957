"""How far a verb is: one line that moves on a terminal, a line at 10% steps in a log."""

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from promptrank.cli.taken import Taken

if TYPE_CHECKING:
    from rich.console import Console

Say = Callable[[str], None]
Clock = Callable[[], float]

WINDOW = 30.0
"""Seconds of recent progress that a rate is taken from."""

_TICK = 0.1  # seconds; answers that come together are one point
_LINES = 10  # of a log, for one pass
_BETWEEN = 1.0  # seconds between two lines of a log, however short a pass is
_EARLY = 5.0  # seconds after which a first estimate is worth something
_LONG = 60.0  # seconds to come that are worth a line before a tenth is done
_UNKNOWN = 30.0  # seconds between two lines where nobody knows the total


class Pace:
    """Steps per second over the last `WINDOW` seconds of one pass.

    The time up to the first answer counts nowhere: it holds loading and warming up, and what an
    earlier run had done was done in no time at all.
    """

    def __init__(self, window: float = WINDOW) -> None:
        self.window = window
        self._points: deque[tuple[float, int]] = deque()
        self._first: int | None = None

    def add(self, now: float, done: int) -> None:
        """Take down that ``done`` steps were done at ``now`` (seconds of any clock)."""
        if self._first is None:
            self._first = done
        if done == self._first:
            return
        if self._points and now - self._points[-1][0] < _TICK:
            self._points[-1] = (self._points[-1][0], done)
        else:
            self._points.append((now, done))
        while len(self._points) > 2 and self._points[1][0] <= now - self.window:
            self._points.popleft()

    @property
    def rate(self) -> float | None:
        """Steps per second; None until there are two moments to compare."""
        if len(self._points) < 2:
            return None
        (then, before), (now, done) = self._points[0], self._points[-1]
        return (done - before) / (now - then) if done > before else None

    def words(self, done: int, total: int | None, unit: str) -> str:
        """``2.4 requests a second, 2 min left``; empty while nothing can be said."""
        rate = self.rate
        if rate is None:
            return ""
        left = f", {about((total - done) / rate)} left" if total is not None else ""
        return f"{rate_words(rate, unit)}{left}"


class Beside(Protocol):
    """What a line tells beside its count."""

    @property
    def skipped(self) -> int:
        """Steps of the count that somebody else had done before: they say nothing of the speed."""
        ...

    def look(self, now: float) -> None:
        """A step was done at ``now`` (seconds of any clock)."""
        ...

    def words(self) -> str:
        """What to tell; empty where there is nothing."""
        ...


class Pass:
    """One count from its first number to its total."""

    def __init__(self, now: float, done: int, fresh: int) -> None:
        # A count that begins with 1 is told of after its first step, one that was resumed is not.
        self.started, self.start, self.done = now, 0 if fresh == 1 else fresh, done
        self.fresh = fresh  # of them, those that were not there already
        self.pace = Pace()
        self.over = False

    def summary(self, now: float, what: str, unit: str) -> str | None:
        """``ranking: 100 requests in 41 s``; None where there was nothing left to do."""
        new = self.fresh - self.start
        counted = f"{new:,} {unit.removesuffix('s') if new == 1 else unit}"
        return f"{what}: {counted} in {spent(now - self.started)}" if new else None


class Steps:
    """A function of (done, total) behind all that show progress; passes may follow each other."""

    def __init__(
        self,
        what: str,
        unit: str,
        say: Say,
        clock: Clock = time.monotonic,
        taken: Taken | None = None,
    ) -> None:
        """``taken`` tells, beside the pace, that other work takes the cores."""
        self.what, self.unit, self.say, self.clock, self.taken = what, unit, say, clock, taken
        self.current: Pass | None = None
        self.beside: Beside | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` steps are done; None is a total that is not known."""
        now, current = self.clock(), self.current
        fresh = done - self.beside.skipped if self.beside is not None else done
        if current is None or current.over or done < current.done:
            self.current = current = Pass(now, done, fresh)
            self.begin(now, done, total)
        current.done, current.fresh = done, fresh
        current.pace.add(now, fresh)
        if self.beside is not None:
            self.beside.look(now)
        if total is not None and done >= total:
            self._end(current, now)
        else:
            self.show(current, now, total)

    def close(self) -> None:
        """End a pass that is not at its total: training that stopped early, a total not known."""
        if self.current is not None and not self.current.over:
            self._end(self.current, self.clock())

    def _end(self, current: Pass, now: float) -> None:
        current.over = True
        self.end()
        if text := current.summary(now, self.what, self.unit):
            self.say(text)

    def pace(self, current: Pass, total: int | None) -> str:
        """How fast it goes, how long it will take, and what is in its way."""
        taken = self.taken.words() if self.taken is not None else ""
        pace = current.pace.words(current.done, total, self.unit)
        beside = self.beside.words() if self.beside is not None else ""
        return ", ".join(filter(None, (pace, beside, taken)))

    def begin(self, now: float, done: int, total: int | None) -> None:
        """A pass begins."""

    def show(self, current: Pass, now: float, total: int | None) -> None:
        """A pass goes on."""

    def end(self) -> None:
        """A pass is over."""


class LogSteps(Steps):
    """A line each time another tenth is done; every half minute where the total is not known."""

    def begin(self, now: float, done: int, total: int | None) -> None:
        """The next line is due when another tenth is done."""
        self._tenth = _tenth(done, total)
        self._last = now
        self._early = self.taken is not None and total is not None

    def show(self, current: Pass, now: float, total: int | None) -> None:
        """Write a line if one is due."""
        tenth = _tenth(current.done, total)
        wait = _UNKNOWN if total is None else _BETWEEN
        due = tenth > self._tenth if total is not None else True
        if now - self._last < wait or not (due or self._first_estimate(current, now, total)):
            return
        self._tenth, self._last, self._early = tenth, now, False
        of = f" of {total:,}" if total is not None else ""
        pace = self.pace(current, total)
        self.say(f"{self.what}: {current.done:,}{of} {self.unit}{', ' if pace else ''}{pace}")

    def _first_estimate(self, current: Pass, now: float, total: int | None) -> bool:
        """Whether to tell how long it will take, before a tenth is done: once, of a long pass."""
        rate = current.pace.rate
        if not self._early or rate is None or total is None or now - current.started < _EARLY:
            return False
        return (total - current.done) / rate >= _LONG


class BarSteps(Steps):
    """One line that moves, gone when a pass is over."""

    def __init__(
        self,
        what: str,
        unit: str,
        say: Say,
        console: "Console",
        clock: Clock = time.monotonic,
        taken: Taken | None = None,
    ) -> None:
        super().__init__(what, unit, say, clock, taken)
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[pace]}", markup=False),
        )
        self._bar = Progress(*columns, console=console, transient=True)
        self._shown = float("-inf")

    def begin(self, now: float, done: int, total: int | None) -> None:
        """Put the line there."""
        for name in self._bar.task_ids:
            self._bar.remove_task(name)
        self._task = self._bar.add_task(self.what, total=total, count="", pace="")
        self._shown = float("-inf")
        self._bar.start()

    def show(self, current: Pass, now: float, total: int | None) -> None:
        """Move the line; a person does not read more than ten numbers a second."""
        if now - self._shown < _TICK:
            return
        self._shown = now
        of = f" of {total:,}" if total is not None else ""
        self._bar.update(
            self._task,
            completed=current.done,
            total=total,
            count=f"{current.done:,}{of} {self.unit}",
            pace=self.pace(current, total),
        )

    def end(self) -> None:
        """Take the line away."""
        self._bar.stop()


def _tenth(done: int, total: int | None) -> int:
    return _LINES * done // total if total else 0


def rate_words(rate: float, unit: str) -> str:
    """``2.4 requests a second``, ``30 requests a minute``, ``48 seconds a request``."""
    if rate < 0.1:
        return f"{1 / rate:,.0f} seconds a {unit.removesuffix('s')}"
    count, period = (rate, "a second") if rate >= 1 else (60 * rate, "a minute")
    return f"{count:,.{0 if count >= 10 else 1}f} {unit} {period}"


def about(seconds: float) -> str:
    """A time to come, as roughly as it is known: ``2 min``."""
    if seconds < 8:
        return "a few seconds"
    if seconds < 55:
        return f"{5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{max(1, minutes)} min"
    return f"{minutes // 60} h {minutes % 60} min"


def spent(seconds: float) -> str:
    """A time that has passed: ``1 min 34 s``."""
    if seconds < 1:
        return "less than a second"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
