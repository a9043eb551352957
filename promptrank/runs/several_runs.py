"""A folder of several runs: a run a folder, ``plan.json`` that names them, and one summary.

Each of them is a run in its own right. ``summary.json`` is there when all are finished.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from promptrank.basics.seals import read_sealed, write_sealed
from promptrank.basics.telling import Say
from promptrank.errors import DataError, InputError
from promptrank.runs.run_identity import PLAN, RUN, SUMMARY
from promptrank.runs.sharded_run import RunSummary
from promptrank.runs.shards import NOTHING


def check_several(folder: Path) -> None:
    """Told before anything is built or loaded.

    Raises:
        InputError: a file, one run's folder, or the folder of something else.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the runs")
    if (folder / RUN).is_file():
        raise InputError(f"{folder}: holds one run; name another folder for several")
    there = folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir())
    if there and not (folder / PLAN).is_file():
        raise InputError(f"{folder}: is a folder of something else; name another for the runs")


def begin_several(folder: Path, tasks: Mapping[str, str]) -> None:
    """Say which runs are in the folder; a plan that has grown since keeps what is done.

    Args:
        tasks: by the name of a run.
    """
    (folder / SUMMARY).unlink(missing_ok=True)
    write_sealed(folder / PLAN, {"runs": dict(tasks)})


def finish_several(folder: Path, done: Mapping[str, RunSummary]) -> None:
    """Write the summary of all, once each is finished."""
    whole = NOTHING
    for summary in done.values():
        whole = whole.plus(summary.counted)
    runs = {name: {"shards": s.shards, **s.counted.as_dict()} for name, s in done.items()}
    together = whole.as_dict()
    together.pop("label_mass")  # of several tasks' questions
    write_sealed(folder / SUMMARY, {**together, "runs": runs})


def names_of_runs(folder: Path) -> Sequence[str]:
    """Names of the runs in a folder of several; none where it is no such folder.

    Raises:
        DataError: its ``plan.json`` is damaged.
    """
    if not (folder / PLAN).is_file():
        return ()
    runs = read_sealed(folder / PLAN, then="the command that made it writes it again").get("runs")
    if not isinstance(runs, dict):
        raise DataError(f"{folder / PLAN}: names no runs; the command that made it writes it again")
    return tuple(map(str, runs))


def is_of_nights(folder: Path, place: Path) -> bool:
    """Whether a folder to take scores over from holds runs of many nights, each in its own folder.

    Args:
        place: the folder of tonight; what it lies in holds them, in the first night too.
    """
    if (folder / RUN).is_file() or (folder / PLAN).is_file():
        return False
    if folder.resolve() == place.resolve().parent:
        return True
    return any((night / name).is_file() for night in _nights(folder, place) for name in (RUN, PLAN))


def last_finished(nights: Path, place: Path, name: str, say: Say) -> Path | None:
    """The run to take scores over from: of the nights in which it was finished, the last by name.

    Args:
        place: the folder of tonight, which is none of them.
        name: of the run in a folder of several; empty where a night is one run.
    """
    runs = [night / name for night in _nights(nights, place)]
    runs = [run for run in runs if (run / RUN).is_file() and (run / SUMMARY).is_file()]
    if runs:
        say(f"{name or place.name}: scores of equal prompts are taken over from {runs[-1]}")
        return runs[-1]
    say(f"{nights} has no finished run {name}".rstrip() + ", so all of it is ranked")
    return None


def _nights(folder: Path, place: Path) -> list[Path]:
    """Folders in a folder but for tonight's, by name."""
    if not folder.is_dir():
        return []
    each = (path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    return sorted(path for path in each if path.resolve() != place.resolve())


def run_folders(place: Path, earlier: Path | None, name: str, say: Say) -> tuple[Path, Path | None]:
    """Of a run among several, and of the run that it takes scores over from."""
    if earlier is None:
        return place / name, None
    if is_of_nights(earlier, place):
        return place / name, last_finished(earlier, place, name, say)
    if earlier.resolve() == place.resolve():
        raise InputError(f"--since {earlier} is the run itself; name another folder for --run")
    if (earlier / RUN).is_file():
        raise InputError(f"--since {earlier}: is one run; name a folder of several")
    if not (earlier / PLAN).is_file():
        raise InputError(f"--since {earlier}: is no folder of runs; `rank --run` makes one")
    if not (earlier / name / RUN).is_file():
        say(f"{earlier} has no run {name}, so {name} is ranked as a whole")
        return place / name, None
    return place / name, earlier / name
