"""What became of each run of a command: what it came to, or what kept it from its end."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from promptrank.runs.sharded_run import RunSummary
from promptrank.scores.origin import Origin

_NOT_BEGUN = "not begun, as the command ended before it"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run that has not come to its end.

    Attributes:
        folder: of the run, or its address; of ``rank -o`` the file.
        origin: who scores it.
        begun: whether it has had its turn.
        error: what ended it, without what that may quote of the data; empty where nothing has.
    """

    folder: Path
    origin: Origin
    begun: bool = False
    error: str = ""


RunEnd = RunSummary | Unfinished
RunEnds = dict[str, RunEnd]
"""By the name of a run. Empty until everything is opened; then it is kept up to date."""


def ended_by(ends: Mapping[str, RunEnd], error: str) -> RunEnds:
    """The ends once an error has ended the command: each run that did not finish says why.

    Args:
        error: of the run that was under way.
    """
    return {name: _ended(end, error) for name, end in ends.items()}


def _ended(end: RunEnd, error: str) -> RunEnd:
    if isinstance(end, RunSummary) or end.error:
        return end
    return replace(end, error=error if end.begun else _NOT_BEGUN)
