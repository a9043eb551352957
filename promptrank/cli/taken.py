"""How much of the cores other work takes, so that a slow run is told from a busy machine."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_EVERY = 5.0  # seconds between two looks
_FULL = 0.5  # cores: where no more are idle, whoever takes some is in the way
_NOTABLE = 0.25  # of a core for each core: less is what any system does by itself
_IDLE = (3, 4)  # columns of /proc/stat: idle, and waiting for a disk
_GUESTS = 8  # from this column on: counted in the others already


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds of CPU since some moment: of all work on the cores that we may use, and of ours."""

    at: float
    cores: int
    everything: float
    ours: float


def used(proc: Path = Path("/proc")) -> Used | None:
    """What has been used up to now; None where the system does not tell, as outside Linux."""
    try:
        allowed = os.sched_getaffinity(0)
        tick = os.sysconf("SC_CLK_TCK")
        everything = 0
        for line in (proc / "stat").read_text(encoding="ascii").splitlines():
            name, *columns = line.split()
            if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in allowed:
                numbers = [int(c) for n, c in enumerate(columns[:_GUESTS]) if n not in _IDLE]
                everything += sum(numbers)
        ours = _ours(proc, os.getpid())
    except (OSError, ValueError, AttributeError, IndexError):
        return None
    return Used(time.monotonic(), len(allowed), everything / tick, ours / tick)


def _ours(proc: Path, process: int) -> int:
    """Ticks of a process and of those that it has started, living and gone."""
    columns = (proc / str(process) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    ticks = sum(int(column) for column in columns[11:15])  # user, system, and of children gone
    for child in _children(proc, process):
        with suppress(OSError):  # it has gone
            ticks += _ours(proc, child)
    return ticks


def _children(proc: Path, process: int) -> list[int]:
    numbers: list[int] = []
    for thread in (proc / str(process) / "task").iterdir():
        with suppress(OSError):
            numbers += map(int, (thread / "children").read_text(encoding="ascii").split())
    return numbers


class Taken:
    """Says that other work takes the cores, where it does.

    Looking costs less than a millisecond, every five seconds.
    """

    def __init__(self, look: Callable[[], Used | None] = used) -> None:
        self._look = look
        self._last = look()
        self._words = ""

    def words(self) -> str:
        """``other work is using 1.9 of 2 cores``; empty where there is room, or nobody knows."""
        # Processes of one training are each other's other work.
        if self._last is None or os.environ.get("WORLD_SIZE", "1") != "1":
            return ""
        if time.monotonic() - self._last.at < _EVERY:
            return self._words
        now = self._look()
        if now is not None:
            self._words = words_between(self._last, now)
            self._last = now
        return self._words


def words_between(then: Used, now: Used) -> str:
    """What other work took between two looks, in words; empty where it was in nobody's way."""
    seconds = now.at - then.at
    if seconds <= 0:
        return ""
    everything = (now.everything - then.everything) / seconds
    others = min(float(now.cores), everything - (now.ours - then.ours) / seconds)
    full = now.cores - everything < _FULL
    if not full or others < _NOTABLE * now.cores:
        return ""
    cores = f"{now.cores} cores" if now.cores > 1 else "the core"
    return f"other work is using {others:.1f} of {cores}"
