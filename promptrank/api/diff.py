"""``diff``: the scores of one run held against those of another."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptrank.basics.addresses import is_object, shown
from promptrank.basics.files import write_json
from promptrank.basics.paths import expanded
from promptrank.errors import DataError, InputError
from promptrank.places.local_copies import local_copy
from promptrank.runs.outputs import check_output, taken
from promptrank.runs.replaying import origin_changes
from promptrank.runs.run_differences import RunDifferences, run_differences
from promptrank.runs.scores_sides import scores_side
from promptrank.runs.several_runs import names_of_runs

_BESIDE = (".config.json",)
TOLERANCE = 1e-4
"""Between scores of one engine in float32, whose batches differ."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two runs, or two scores files.

    Attributes:
        then, now: the earlier and the later one.
        differences: between their scores and orders.
        changes: what of the things that make a score is another than it was.
        unknown: names of files that do not say how they were made; with one, no changes are known.
        purged: candidates that a purge took out of the earlier and of the later run since.
    """

    then: Path
    now: Path
    differences: RunDifferences
    changes: tuple[str, ...]
    unknown: tuple[str, ...]
    purged: tuple[int, int] = (0, 0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        given: dict[str, Any] = {
            "then": shown(self.then),
            "now": shown(self.now),
            "changes": list(self.changes),
            "unknown": list(self.unknown),
            "purged": {"then": self.purged[0], "now": self.purged[1]},
        }
        return given | self.differences.as_dict()


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """Two folders of several runs, run by run.

    Attributes:
        runs: of the runs that both have, by name.
        gone, new: names of runs that the later folder, and the earlier one, has not.
    """

    runs: dict[str, Compared]
    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether nothing is another than it was."""
        apart = any(not compared.differences.same for compared in self.runs.values())
        return not (apart or self.gone or self.new)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        runs = {name: compared.as_dict() for name, compared in self.runs.items()}
        return {"runs": runs, "gone_runs": list(self.gone), "new_runs": list(self.new)}


def diff(
    then: str | Path,
    now: str | Path,
    *,
    tolerance: float = TOLERANCE,
    out: str | Path | None = None,
) -> Compared:
    """Hold the scores and orders of one run against those of an earlier one.

    Neither is ever whole in memory; what does not fit is put down in the folder for temporary
    files.

    Args:
        then, now: folders of ``rank --run``, or scores files.
        tolerance: scores that are closer are the same.
        out: where to write the result as JSON.

    Raises:
        DataError: no scores, scores that are damaged or of two tasks, or nothing in common.
        InputError: a tolerance that is none, or a place that cannot be written.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"a tolerance of {tolerance}; give a number of 0 or more")
    if is_object(then) or is_object(now):
        with local_copy(then, _BESIDE) as before, local_copy(now, _BESIDE) as after:
            compared = diff(before, after, tolerance=tolerance, out=out)
        compared = replace(compared, then=Path(then), now=Path(now))
        if out is not None:
            write_json(expanded(out), compared.as_dict())
        return compared
    places = expanded(then), expanded(now)
    files = [place for place in places if place.is_file()]
    path = check_output(out, (".json",), files) if out is not None else None
    with taken(path, "diff"):
        earlier, later = map(scores_side, places)
        tasks = earlier.origin.task, later.origin.task
        if None not in tasks and tasks[0] != tasks[1]:
            raise DataError(
                f"{places[0]} has scores of task {tasks[0]}, {places[1]} of {tasks[1]}; "
                "compare runs of one task"
            )
        differences = run_differences(earlier, later, tolerance)
        unknown = tuple(side.place.name for side in (earlier, later) if not side.known)
        changes = () if unknown else tuple(origin_changes(earlier.origin, later.origin))
        purged = earlier.purged, later.purged
        compared = Compared(*places, differences, changes, unknown, purged)
        if path is not None:
            write_json(path, compared.as_dict())
    return compared


def diff_runs(
    then: str | Path,
    now: str | Path,
    *,
    tolerance: float = TOLERANCE,
    out: str | Path | None = None,
) -> ComparedRuns:
    """Hold several runs against those of the same names in an earlier folder.

    Args:
        then, now: folders of ``rank --run`` that hold several runs.
        tolerance, out: as of `diff`.

    Raises:
        DataError: as of `diff`, or no run in common.
        InputError: as of `diff`.
    """
    earlier, later = expanded(then), expanded(now)
    before, after = names_of_runs(earlier), names_of_runs(later)
    both = [name for name in before if name in after]
    if not both:
        raise DataError(f"{earlier} and {later} have no run in common; name two of their folders")
    path = check_output(out, (".json",)) if out is not None else None
    with taken(path, "diff"):
        runs = {name: diff(earlier / name, later / name, tolerance=tolerance) for name in both}
        gone = tuple(name for name in before if name not in after)
        new = tuple(name for name in after if name not in before)
        compared = ComparedRuns(runs, gone, new)
        if path is not None:
            write_json(path, compared.as_dict())
    return compared
