"""What is noted of one request while it is answered: stages by one clock, names, and no texts."""

import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

STAGES = ("read", "look_up", "wait", "encode", "engine", "write")
"""``read``: the body comes, and is checked. ``look_up``: what it names only, in the task's tables.
``wait``: for a seat. ``encode``: to what an engine understands. ``engine``: from when it is first
asked to the last answer, steps of others among its own, and the task's steps. ``write``: the
answer, up to its bytes. A request need not have all, and the end may come in any."""
_KEY = "promptrank.trail"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage that was gone through.

    Attributes:
        begun: nanoseconds since 1970.
        ended: the same.
    """

    name: str
    begun: int
    ended: int

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended - self.begun) / 1e9


class Trail:
    """One request's; the stages may be told from any thread.

    Attributes:
        request_id: as its header has it.
        task: that it is about, once that is known.
        candidates: in it, once they are known.
        tokens: that were asked of an engine.
        cached: prompts that were answered from the score cache; None where there is none.
        cause: why an engine cannot be used, for the log: it may name folders of this machine.
        sent: the body; it goes nowhere unless the log was asked for texts.
        ended: nanoseconds since 1970, once there is an answer.
    """

    def __init__(self, request_id: str) -> None:
        """Begin now."""
        self.request_id = request_id
        self.task: str | None = None
        self.candidates: int | None = None
        self.tokens: int | None = None
        self.cached: int | None = None
        self.cause: str | None = None
        self.sent: dict[str, Any] | None = None
        self.begun = time.time_ns()
        self._zero = time.perf_counter_ns()
        self.ended: int | None = None
        self._marks: list[tuple[str, int]] = []

    def stage(self, name: str) -> None:
        """A stage begins, and the one before it ends; nothing where it is at it already."""
        if not self._marks or self._marks[-1][0] != name:
            self._marks.append((name, self._now()))

    def end(self) -> None:
        """There is an answer; whatever a thread is still at is not part of it."""
        self.ended = self._now()

    @property
    def seconds(self) -> float:
        """From the beginning to the end, or until now."""
        return ((self.ended or self._now()) - self.begun) / 1e9

    def stages(self) -> list[Stage]:
        """What was gone through up to the end, in order."""
        end = self.ended or self._now()
        marks = [mark for mark in self._marks if mark[1] <= end]
        ends = [*(begun for _, begun in marks), end][1:]
        return [Stage(name, begun, ended) for (name, begun), ended in zip(marks, ends, strict=True)]

    def _now(self) -> int:
        # The clock of this day may be set back; this one goes on.
        return self.begun + time.perf_counter_ns() - self._zero


def begin_trail(request: Request, request_id: str) -> Trail:
    """A request's trail; who answers it finds it there."""
    trail: Trail = request.scope.setdefault(_KEY, Trail(request_id))
    return trail
