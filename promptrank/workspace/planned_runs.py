"""The runs of a plan, each looked at before any of them begins."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptrank.basics.addresses import is_object
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.errors import InputError, TaskError
from promptrank.project import open_project
from promptrank.runs.run_identity import PLAN, SUMMARY, check_folders
from promptrank.runtime.runtime import Runtime
from promptrank.schema.run_plan import PlannedRun, RunPlan, in_lines, load_plan
from promptrank.scores.origin import Origin
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import check_given
from promptrank.workspace.tasks import OpenTask, check_splits, data_folder, open_task

_NO_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_RANKER = ("engine", "model", "adapter", "threads", "device", "dtype", "allow_changed")


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A run of a plan with its task.

    Attributes:
        name: of its folder.
        task: as the plan names it, for those who open it themselves.
        settings: overrides of its task, those for all first.
        given: options of `promptrank.rank`, its own over those that are said for all.
    """

    name: str
    task: str
    settings: tuple[str, ...]
    opened: OpenTask
    given: Mapping[str, Any]


def plan_of(tasks: Sequence[str]) -> RunPlan:
    """A plan of tasks alone."""
    return RunPlan(runs=[PlannedRun(task=task) for task in tasks])


def open_plan(
    plan: str | Path | Sequence[str],
    given: Mapping[str, Any],
    *,
    project: str | Path | None = None,
    settings: Sequence[str] = (),
    say: Say = silent,
) -> list[PlanEntry]:
    """The runs of a plan in their order, with their tasks; their request files are looked at.

    Request files of a plan are found from its own folder.

    Args:
        plan: a file, or names of tasks.
        given: options for runs that do not say otherwise.
        settings: overrides for all tasks; a run's own come after them.

    Raises:
        TaskError: a plan that is none, tasks with problems, two runs of one name, request files
            that are not there or none; all of them.
    """
    file = None
    if isinstance(plan, str | Path):
        file = expanded(plan)
        runs = load_plan(file).runs
    else:
        runs = plan_of(plan).runs
    at = open_project(project)
    entries: list[PlanEntry] = []
    problems: list[str] = []
    names: dict[str, int] = {}
    for number, run in enumerate(runs):
        own = run.given()
        if file is not None and run.requests is not None and not is_object(run.requests):
            own["requests"] = file.parent / expanded(run.requests)
        overrides = (*settings, *run.settings)
        try:
            opened = open_task(run.task, project=at, settings=overrides)
        except InputError as error:
            for line in str(error).splitlines():
                key = "set" if line.startswith("--set: ") else "task"
                problems.append(f"runs.{number}.{key}: {line.removeprefix('--set: ')}")
            continue
        name = run.name or _NO_NAME.sub("-", opened.name).strip("-.")[-100:]
        if name.casefold() in (PLAN, SUMMARY):
            problems.append(f"runs.{number}.name: {name} is a file of the folder; choose another")
        other = names.setdefault(name.casefold(), number)
        if other != number:
            problems.append(
                f"runs.{number}: is called {name} as runs.{other} is; give one a name of its own"
                if file is not None
                else f"runs.{number}: {_named_twice(runs[other].task, run.task)}"
            )
        entry = PlanEntry(name, run.task, overrides, opened, {**given, **own})
        try:
            _check(entry, say)
        except InputError as error:
            problems += _lines(number, entry, error)
        entries.append(entry)
    if problems:
        raise _problems(file, problems)
    return entries


def check_entries(
    entries: Sequence[PlanEntry],
    folders: Mapping[str, tuple[Path, Path | None]],
    opening: Callable[[PlanEntry], Origin],
    *,
    plan: str | Path | Sequence[str],
) -> dict[str, Origin]:
    """Open the model, adapter and template of every run, so that a wrong one is told now.

    What is opened stays where it is, for the runs themselves.

    Returns:
        Who scores each run, by name.

    Args:
        folders: of each run by name, with that of an earlier run, if any.
        opening: opens what a run is ranked by: `open_here`, or what workers have.

    Raises:
        TaskError: whatever in the input keeps runs from starting, of all of them.
    """
    problems: list[str] = []
    origins: dict[str, Origin] = {}
    for number, entry in enumerate(entries):
        try:
            check_folders(*folders[entry.name])
            origins[entry.name] = opening(entry)
        except InputError as error:
            problems += _lines(number, entry, error)
    if problems:
        raise _problems(expanded(plan) if isinstance(plan, str | Path) else None, problems)
    return origins


def ranker_options(entry: PlanEntry) -> dict[str, Any]:
    """What of a run's options `promptrank.open_ranker` takes."""
    return {name: entry.given[name] for name in _RANKER if name in entry.given}


def open_here(entry: PlanEntry, *, runtime: Runtime, say: Say = silent) -> Origin:
    """Open what a run is ranked by, which stays with the runtime; says who scores it."""
    with open_ranker(entry.opened, **ranker_options(entry), runtime=runtime, say=say) as ranker:
        return ranker.origin


def _check(entry: PlanEntry, say: Say) -> None:
    requests = entry.given.get("requests")
    if requests is None:
        check_splits(entry.opened.task, entry.given.get("splits"))
        data_folder(entry.opened, say)
    else:
        check_given(requests)


def _lines(number: int, entry: PlanEntry, error: InputError) -> list[str]:
    lines = str(error).splitlines() or [type(error).__name__]
    return [f"runs.{number}: {entry.opened.name}: {line}" for line in lines]


def _named_twice(first: str, second: str) -> str:
    """Of tasks without a plan, which have no names but their own."""
    twice = f"{first} and {second} are one task" if first != second else f"{first} is named twice"
    return f"{twice}; name it once, or write a --plan, which gives each run a name"


def _problems(file: Path | None, problems: list[str]) -> TaskError:
    if file is not None:
        return TaskError(str(file), in_lines(file, problems))
    return TaskError("rank", [problem.partition(": ")[2] for problem in problems])
